"""`lorad arena`: which of two answers is better, without knowing whose they are."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from corpus.dataset import load
from corpus.split import sample
from service.cli.client import Client
from service.cli.console import emit_json, err, out, say
from service.cli.generate import BASE
from service.cli.options import Json, Server
from service.cli.running_server import running_server
from storage.durable import staged_file

app = typer.Typer(
    help="Let people compare answers on a running server (--server or LORAD_SERVER).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BattleId = Annotated[str, typer.Argument(help="battle-…")]
Voter = Annotated[str | None, typer.Option(help="Who votes, each once on a battle; default the key's tenant.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Adapter reference, or 'base'; repeatable.")]
Pinned = Annotated[list[str] | None, typer.Option("--model", help="As the leaderboard names it; repeatable.")]
_WINNERS = ("a", "b", "tie")
_QUESTION = "Which is better? a, b or tie, and why if you like; Enter skips, q ends: "


@app.command("battle")
def battle(
    prompts: Annotated[list[str] | None, typer.Argument(help="One user turn each.")] = None,
    data: Annotated[Path | None, typer.Option(help="Take prompts from this file instead.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="So many prompts of the file, drawn by --seed.")] = 10,
    model: Models = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="New tokens at most.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sample of prompts, and of the answers.")] = 0,
    voter: Voter = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Show two answers to each prompt, ask which is better, then tell who gave them.

    Two of the models answer, picked by chance; without --model, of the base and the newest version of every adapter.
    """
    client = _client(server)
    models = None if model is None else [None if name == BASE else name for name in model]
    options = {"models": models, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    for messages in _conversations(prompts, data, rounds, seed):
        made = client.call("POST", "/v1/arena/battles", json={"messages": messages, **options})
        _show(made)
        said = _ask()
        if said is None:
            return
        winner, comment = said
        if winner in _WINNERS:
            vote = _vote(client, made["id"], winner, comment, voter)
            _print_vote(vote, json_=json_, indent=None)


@app.command("vote")
def vote(
    battle_id: BattleId,
    winner: Annotated[Literal["a", "b", "tie"], typer.Argument(help="The better side.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    voter: Voter = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Vote on a battle that exists."""
    _print_vote(_vote(_client(server), battle_id, winner, comment, voter), json_=json_)


@app.command("list")
def list_battles(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    voter: Voter = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """List battles, newest first; names are shown where the voter has voted."""
    found = _client(server).call("GET", "/v1/arena/battles", params=_given(limit=limit, voter=voter))["data"]
    if json_:
        emit_json(found)
        return
    table = Table("battle", "prompt", "vote", "a", "b", box=None, padding=(0, 2, 0, 0))
    for each in found:
        models = each["models"] or {"a": "?", "b": "?"}
        table.add_row(each["id"], _short(each["messages"][-1]["content"]), each["winner"], models["a"], models["b"])
    out().print(table)


@app.command("leaderboard")
def leaderboard(model: Pinned = None, server: Server = None, json_: Json = False) -> None:
    """Rank models by how strongly people prefer them; with --model by the battles between these."""
    board = _client(server).call("GET", "/v1/arena/leaderboard", params=_given(model=model))
    if json_:
        emit_json(board)
        return
    columns = ("rank", "model", "Bradley-Terry", "95%", "Elo", "won", "lost", "tied", "score")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for each in board["data"]:
        strength, score = each["bradley_terry"], each["mean_score"]
        interval = f"{strength['low']:.0f} to {strength['high']:.0f}" + ("" if each["bounded"] else " *")
        figures = (each["wins"], each["losses"], each["ties"])
        table.add_row(
            str(each["rank"]),
            each["model"],
            f"{strength['rating']:.0f}",
            interval,
            f"{each['elo']['rating']:.0f}",
            *map(str, figures),
            "" if score is None else f"{score:.1f} ({each['num_ratings']})",
        )
    out().print(table)
    if any(not each["bounded"] for each in board["data"]):
        say("* has never lost, or never won: more votes are needed before the interval means much")
    if board["data"] and not board["comparable"]:
        say("no chain of wins and ties links all of these models: how some of them compare is a guess")


@app.command("rate")
def rate(
    battle_id: BattleId,
    side: Annotated[Literal["a", "b"], typer.Argument(help="Whose answer.")],
    score: Annotated[int, typer.Argument(min=1, max=5, help="1 (bad) to 5 (good).")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    voter: Voter = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Give one answer of a battle a score, in the place of an earlier one by the same voter."""
    body = {"battle": battle_id, "side": side, "score": score, "comment": comment, "voter": voter}
    rating = _client(server).call("POST", "/v1/arena/ratings", json=body)
    if json_:
        emit_json(rating)
    else:
        out().print(f"{rating['id']}  {rating['score']} of 5", markup=False)


@app.command("export")
def export(
    output: Annotated[Path, typer.Option(help="JSON Lines; refused where it exists.")],
    model: Pinned = None,
    min_margin: Annotated[int, typer.Option(min=1, help="Votes by which an answer has to lead.")] = 1,
    server: Server = None,
) -> None:
    """Write votes as preference pairs, which lorad train --method dpo and jobs read; --model takes its battles."""
    if output.exists():
        raise typer.BadParameter(f"{output} exists; name a new file", param_hint="--output")
    rows = _client(server).download("/v1/arena/export", params=_given(model=model, min_margin=min_margin))
    with staged_file(output) as staged:
        staged.write_bytes(rows)
    say(f"{rows.count(10)} pairs written to {output}")


@app.command("save")
def save(
    battle_id: BattleId,
    side: Annotated[Literal["a", "b"] | None, typer.Option(help="Whose answer is right.")] = None,
    completion: Annotated[str | None, typer.Option(help="What should have been said, where neither is right.")] = None,
    suite: Annotated[str | None, typer.Option(help="Add it to this suite of the server, in a new version.")] = None,
    file: Annotated[Path | None, typer.Option(help="Add it to this JSONL file of cases.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Of the case; repeatable.")] = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Make a case of a battle's conversation and what should be said in it."""
    if (suite is None) == (file is None) or (side is None and completion is None):
        raise typer.BadParameter("give --suite or --file, and --side or --completion")
    client = _client(server)
    if file is not None:
        made = client.call("GET", f"/v1/arena/battles/{battle_id}")
        right = completion if completion is not None else made[str(side)]["text"]
        _append(file, {"messages": made["messages"], "completion": right, "tags": tag or []})
        say(f"added to {file}")
        return
    body = _given(suite=suite, battle=battle_id, side=side, completion=completion, tags=tag)
    saved = client.call("POST", "/v1/arena/cases", json=body)
    if json_:
        emit_json(saved)
    else:
        out().print(f"{saved['id']}  {saved['num_cases']} cases", markup=False)


@app.command("delete")
def delete(battle_id: BattleId, server: Server = None) -> None:
    """Forget a battle with its votes and ratings."""
    _client(server).call("DELETE", f"/v1/arena/battles/{battle_id}")
    say(f"{battle_id} is deleted")


def _client(server: str | None) -> Client:
    return running_server(server, "battles are held")


def _conversations(
    prompts: Sequence[str] | None, data: Path | None, rounds: int, seed: int
) -> Iterator[Sequence[dict[str, Any]]]:
    if bool(prompts) == (data is not None):
        raise typer.BadParameter("give either prompts or --data")
    if data is None:
        return ([{"role": "user", "content": prompt}] for prompt in prompts or ())
    records = [record for record in load(data).records if record.prompt_messages]
    if not records:
        raise typer.BadParameter(f"{data} holds no prompts", param_hint="--data")
    chosen = sample(records, rounds, seed) if rounds < len(records) else records
    return ([dict(message) for message in record.prompt_messages] for record in chosen)


def _show(made: dict[str, Any]) -> None:
    """On stderr: what is asked for is the vote."""
    console = err()
    console.rule()
    console.print(made["messages"][-1]["content"], markup=False, style="bold")
    for side in ("a", "b"):
        cut = " […]" if made[side]["finish_reason"] == "length" else ""
        console.print(f"\n{side}:", style="bold")
        console.print(made[side]["text"] + cut, markup=False)


def _ask() -> tuple[str, str] | None:
    """The winner, or nothing, and a comment; None to end."""
    while True:
        err().print(f"\n{_QUESTION}", end="", markup=False)
        try:
            winner, _, comment = input().strip().partition(" ")
        except EOFError:
            return None
        if winner.lower() in ("", *_WINNERS):
            return winner.lower(), comment.strip()
        if winner.lower() in ("q", "quit"):
            return None


def _vote(client: Client, battle_id: str, winner: str, comment: str, voter: str | None) -> dict[str, Any]:
    body = {"battle": battle_id, "winner": winner, "comment": comment, "voter": voter}
    cast: dict[str, Any] = client.call("POST", "/v1/arena/votes", json=body)
    return cast


def _print_vote(vote: dict[str, Any], *, json_: bool, indent: int | None = 2) -> None:
    if json_:
        emit_json(vote, indent=indent)
    else:
        models = vote["models"]
        out().print(f"{vote['winner']}: a was {models['a']}, b was {models['b']}", markup=False)


def _append(file: Path, case: dict[str, Any]) -> None:
    """One line in one write: whoever reads the file meanwhile sees the case whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as stream:
        line = json.dumps(case, ensure_ascii=False).encode() + b"\n"
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line)


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
