"""What the questions are about: the values that fill a template's placeholders."""

from collections.abc import Mapping
from datetime import date

from shop import CITIES, FIRST_NAMES, LAST_NAMES, PRODUCTS, STATUSES

Filling = Mapping[str, str]
"""Placeholder to text. A slot may fill several: a month has a spoken name, a first day and the day after its last."""

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 10: "ten"}
ORDINALS = ("first", "second", "third", "fourth")


def month(year: int, number: int) -> Filling:
    """Return one calendar month as a half-open range."""
    end = date(year + number // 12, number % 12 + 1, 1)
    name = f"{MONTHS[number - 1]} {year}"
    return {"month": name, "month_start": f"{year}-{number:02}-01", "month_end": end.isoformat()}


def quarter(year: int, number: int) -> Filling:
    """Return one quarter as a half-open range."""
    end = date(year + number // 4, (3 * number) % 12 + 1, 1)
    start = date(year, 3 * number - 2, 1)
    return {
        "quarter": f"the {ORDINALS[number - 1]} quarter of {year}",
        "quarter_start": start.isoformat(),
        "quarter_end": end.isoformat(),
    }


def day(value: date) -> Filling:
    """Return one day, spoken and ISO."""
    return {"day": f"{value.day} {MONTHS[value.month - 1]} {value.year}", "day_iso": value.isoformat()}


def plain(name: str, values: tuple[object, ...]) -> tuple[Filling, ...]:
    """Return fillings whose spoken and written forms are the same."""
    return tuple({name: str(value)} for value in values)


DAYS = (
    date(2023, 2, 14), date(2023, 5, 1), date(2023, 8, 20), date(2023, 11, 24),
    date(2024, 1, 15), date(2024, 3, 31), date(2024, 6, 1), date(2024, 9, 10), date(2024, 12, 1),
)  # fmt: skip
SLOTS: Mapping[str, tuple[Filling, ...]] = {
    "city": plain("city", tuple(CITIES)),
    "country": plain("country", tuple(dict.fromkeys(CITIES.values()))),
    "category": plain("category", tuple(PRODUCTS)),
    "status": plain("status", STATUSES),
    "product": plain("product", tuple(name for names in PRODUCTS.values() for name in names)),
    "customer": plain("customer", tuple(f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES)),
    "first_name": plain("first_name", FIRST_NAMES),
    "last_name": plain("last_name", LAST_NAMES),
    "price": plain("price", (8, 12, 20, 25, 30, 45, 60, 75, 90, 100, 120, 150)),
    "stock": plain("stock", (3, 5, 8, 10, 12, 15, 20, 30)),
    "quantity": plain("quantity", (2, 3, 4, 5, 6)),
    "spend": plain("spend", (300, 500, 750, 1000, 1500, 2000, 2500, 3000)),
    "orders": plain("orders", (5, 8, 10, 12, 15, 20, 25, 30, 40)),
    "units": plain("units", (30, 40, 50, 60, 75, 80, 100, 120)),
    "days": plain("days", (3, 5, 7, 8, 10)),
    "limit": tuple({"limit": str(number), "limit_word": word} for number, word in WORDS.items()),
    "joined_year": plain("joined_year", (2020, 2021, 2022)),
    "year": plain("year", (2023, 2024)),
    "month": tuple(month(year, number) for year in (2023, 2024) for number in range(1, 13)),
    "quarter": tuple(quarter(year, number) for year in (2023, 2024) for number in range(1, 5)),
    "day": tuple(day(value) for value in DAYS),
}
