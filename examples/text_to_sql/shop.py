"""The shop behind the questions: its schema, its names and its seeded rows."""

import random
import sqlite3
from datetime import date, timedelta
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")
INPUT = (
    "customers(id, name, email, city, country, joined_on)\n"
    "products(id, name, category, price, stock)\n"
    "orders(id, customer_id, product_id, quantity, status, ordered_on, shipped_on)"
)
"""The schema as a model sees it: table and column names only, short enough to repeat in every row."""

CITIES = {
    "Oslo": "Norway", "Bergen": "Norway", "Lisbon": "Portugal", "Porto": "Portugal",
    "Hamburg": "Germany", "Munich": "Germany", "Lyon": "France", "Nantes": "France",
}  # fmt: skip
FIRST_NAMES = ("Ada", "Bruno", "Clara", "Dario", "Elin", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin", "Luis")
LAST_NAMES = ("Almeida", "Berg", "Costa", "Dahl", "Faure", "Haas", "Keller", "Lund", "Moreau", "Nunes", "O'Neill")
PRODUCTS = {
    "Kitchen": ("Chef's Knife", "Cast Iron Pan", "Kettle", "Coffee Grinder", "Cutting Board"),
    "Garden": ("Pruning Shears", "Watering Can", "Wheelbarrow", "Rain Barrel", "Hand Trowel"),
    "Office": ("Desk Lamp", "Standing Desk", "Paper Shredder", "Whiteboard", "Stapler"),
    "Toys": ("Wooden Train", "Puzzle Box", "Kite", "Building Blocks", "Marble Run"),
    "Sports": ("Yoga Mat", "Jump Rope", "Tennis Racket", "Climbing Rope", "Water Bottle"),
    "Books": ("Sea Atlas", "Bread Handbook", "Chess Primer", "Birds of Europe", "Night Trains"),
}
STATUSES = ("pending", "shipped", "delivered", "cancelled")
NEVER_ORDERED = frozenset({"Rain Barrel", "Stapler", "Night Trains"})
"""Products without an order, so that questions about absence have an answer."""

NUM_CUSTOMERS = 64
NUM_QUIET_CUSTOMERS = 6
NUM_ORDERS = 1100
FIRST_ORDER_DAY = date(2023, 1, 2)
ORDER_DAYS = 729


def customer_rows(rng: random.Random) -> list[tuple[int, str, str | None, str, str, str]]:
    """Return the customers, a quarter of them without an e-mail address."""
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    rows = []
    for number, name in enumerate(rng.sample(names, NUM_CUSTOMERS), start=1):
        city = rng.choice(tuple(CITIES))
        address = name.lower().replace(" ", ".").replace("'", "") + "@example.com"
        email = address if rng.random() > 0.25 else None
        joined_on = date(2020, 1, 5) + timedelta(days=rng.randrange(1080))
        rows.append((number, name, email, city, CITIES[city], joined_on.isoformat()))
    return rows


def product_rows(rng: random.Random) -> list[tuple[int, str, str, float, int]]:
    """Return the products; some are out of stock."""
    named = [(name, category) for category, names in PRODUCTS.items() for name in names]
    return [
        (number, name, category, rng.randrange(450, 18000) / 100, rng.choice((0, 0, rng.randrange(1, 25), 60)))
        for number, (name, category) in enumerate(named, start=1)
    ]


def order_rows(
    rng: random.Random, products: list[tuple[int, str, str, float, int]]
) -> list[tuple[int, int, int, int, str, str, str | None]]:
    """Return the orders of all but the quiet customers; only shipped and delivered ones have a shipping day."""
    sold = [product[0] for product in products if product[1] not in NEVER_ORDERED]
    rows = []
    for number in range(1, NUM_ORDERS + 1):
        # Squaring makes some customers and products far more active than others, as in a real shop.
        customer_id = 1 + int((NUM_CUSTOMERS - NUM_QUIET_CUSTOMERS) * rng.random() ** 2)
        product_id = sold[int(len(sold) * rng.random() ** 1.5)]
        status = rng.choices(STATUSES, weights=(2, 2, 7, 1))[0]
        ordered_on = FIRST_ORDER_DAY + timedelta(days=rng.randrange(ORDER_DAYS))
        wait = timedelta(days=rng.randrange(1, 12))
        shipped_on = (ordered_on + wait).isoformat() if status in ("shipped", "delivered") else None
        quantity = rng.choice((1, 1, 1, 2, 2, 3, 4, 5, 8))
        rows.append((number, customer_id, product_id, quantity, status, ordered_on.isoformat(), shipped_on))
    return rows


def build(target: str | Path = ":memory:") -> sqlite3.Connection:
    """Create the shop's database at `target` and return the open connection.

    The rows come from a generator of their own, so that a change to the questions never changes the data.
    """
    rng = random.Random(2024)
    connection = sqlite3.connect(target)
    connection.executescript(SCHEMA.read_text(encoding="utf-8"))
    products = product_rows(rng)
    connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", customer_rows(rng))
    connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?)", products)
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", order_rows(rng, products))
    connection.commit()
    return connection
