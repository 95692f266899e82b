"""Sentences of our own about numbers: decimals, versions, verses, dates, times, money, sums, lists.

Each maker takes a seeded ``random.Random`` and returns one passage; what it states is computed,
so it is true. The same pair of numbers (9.9 and 9.11) is met as decimals, as versions, as dates,
as verses and as section numbers, so that features for each reading can exist. Knows nothing of
packages or storage.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal

Maker = Callable[[random.Random], str]

MONTHS = (
    "January February March April May June July August September October November December"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NAMES = (
    "Anna Ben Carla David Elena Farid Grace Hugo Ines Jonas Kofi Lucia Maria Nadia Omar Priya "
    "Quentin Rosa Sam Tara Umar Vera Wei Ximena Yusuf Zoe Mia Noah Olga Pedro Ravi Sofia Tom Ida"
).split()
THINGS = (
    "apple banana pencil notebook candle cup plate book ticket lamp brick bolt rose egg lemon "
    "orange button spoon chair stamp shirt sock hat bottle loaf pear onion carrot key brush"
).split()
PROGRAMS = (
    "the compiler|the editor|the kernel|the web server|the database|the browser|the plugin|"
    "the driver|the game|the library|the parser|the mail client|the firmware|the toolkit"
).split("|")
BOOKS = (
    "Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges Isaiah Jeremiah Matthew Mark Luke "
    "John Acts Romans Hebrews Revelation Proverbs Daniel Ezekiel"
).split()
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n: int) -> str:
    """A whole number below a million in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        rest = f" and {words(n % 100)}" if n % 100 else ""
        return f"{ONES[n // 100]} hundred{rest}"
    rest = f" {words(n % 1000)}" if n % 1000 else ""
    return f"{words(n // 1000)} thousand{rest}"


def roman(n: int) -> str:
    """A whole number below 4,000 in Roman numerals."""
    table = (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")
    small = (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")
    out = ""
    for value, letters in (*table, *small):
        out += letters * (n // value)
        n %= value
    return out


def pair(r: random.Random) -> tuple[int, int, int]:
    """A whole part with a one-digit and a two-digit tail, such as (9, 9, 11).

    Never tails such as 2 and 20, which are one decimal and two versions.
    """
    whole, short = 9 if r.random() < 0.25 else r.randint(1, 24), r.randint(2, 9)
    return whole, short, r.choice([long for long in range(10, 32) if long != 10 * short])


def decimals(r: random.Random) -> str:
    """Which of two decimals is larger, and why."""
    w, a, b = pair(r)
    short, long = f"{w}.{a}", f"{w}.{b}"
    larger, smaller = (short, long) if Decimal(short) > Decimal(long) else (long, short)
    x, y = r.sample((short, long), 2)
    gap = Decimal(larger) - Decimal(smaller)
    forms = (
        f"Which number is larger, {x} or {y}? As decimals, {larger} is larger than {smaller}. "
        f"Write both with two places: {Decimal(larger):.2f} and {Decimal(smaller):.2f}. "
        f"The difference is {gap}.",
        f"{r.choice(NAMES)} asked whether {x} is bigger than {y}. The answer is "
        f"{'yes' if x == larger else 'no'}: {larger} > {smaller}, because the first digit after "
        f"the point counts tenths, and {larger} - {smaller} = {gap}.",
        f"Compare the decimals {x} and {y}. Both have {w} ones. Then look at the tenths: "
        f"{short} has {a} tenths, and {long} has {str(b)[0]}. So {smaller} < {larger}.",
        f"On the number line {smaller} comes before {larger}. The distance between them is {gap}, "
        f"and half way between lies {(Decimal(larger) + Decimal(smaller)) / 2}.",
    )
    return r.choice(forms)


def versions(r: random.Random) -> str:
    """Release numbers, where 9.11 does follow 9.9."""
    w, a, b = pair(r)
    what, day = r.choice(PROGRAMS), dt.date(r.randint(1998, 2025), r.randint(1, 12), 12)
    forms = (
        f"Version {w}.{b} of {what} was released after version {w}.{a}. In a version number each "
        f"part counts by itself: {b} comes after {a}, so {w}.{b} is newer than {w}.{a}.",
        f"Release notes for {what}, version {w}.{a}.{r.randint(0, 9)} ({day.isoformat()}): fixed a "
        f"crash when a file was empty; faster start; removed the option that was deprecated in "
        f"{w}.{max(a - 2, 0)}.",
        f"pip install example=={w}.{b}.{r.randint(0, 4)}  # needs Python >= 3.{r.randint(8, 13)}; "
        f"works with {w}.{a} too",
        f"Please upgrade {what} from {w}.{a} to {w}.{b} before {day:%B %Y}. Versions older than "
        f"v{w}.{a} no longer receive security updates.",
        f"$ tool --version\ntool {w}.{b}.{r.randint(0, 30)} (build {r.randint(1000, 99999)})\n"
        f"A newer version, {w}.{b + 1}.0, is available.",
    )
    return r.choice(forms)


def chapter_and_verse(r: random.Random) -> str:
    """References to Bible verses."""
    w, a, b = pair(r)
    book, other = r.sample(BOOKS, 2)
    forms = (
        f"In {book} {w}, verse {b} comes after verse {a}. One writes {book} {w}:{a} and "
        f"{book} {w}:{b}, with a colon between chapter and verse.",
        f"The reading for {r.choice(DAYS)} is {book} {w}:{a}-{b}; the second reading is "
        f"{other} {r.randint(1, 20)}:{r.randint(1, 9)}-{r.randint(10, 22)}.",
        f"See {book} {w}:{a}; {w}:{b}; {other} {r.randint(1, 20)}:{r.randint(1, 20)}, and compare "
        f"{book} {w + 1}:{r.randint(1, 12)}.",
        f"{r.choice(NAMES)} opened the Bible at {book}, chapter {words(w)}, and read from verse "
        f"{words(a)} to verse {words(b)} aloud.",
    )
    return r.choice(forms)


def sections(r: random.Random) -> str:
    """Numbered headings, figures and clauses."""
    w, a, b = pair(r)
    forms = (
        f"Section {w}.{a} describes the method; Section {w}.{b} gives the results. "
        f"Figure {w}.{r.randint(1, 9)} on page {r.randint(20, 400)} shows the apparatus.",
        f"{w}.{a} Introduction\n{w}.{a + 1} Materials\n{w}.{a + 2} Method\n{w}.{a + 3} Results\n"
        f"{w}.{b + 3} Discussion",
        f"Under clause {w}.{a} the tenant pays the rent on the first day of the month. Clause "
        f"{w}.{b} says what happens when a payment is late; clause {w + 1}.1 deals with repairs.",
    )
    return r.choice(forms)


def _date(r: random.Random) -> dt.date:
    return dt.date(r.randint(1850, 2030), r.randint(1, 12), r.randint(1, 28))


def dates(r: random.Random) -> str:
    """Days in many ways of writing, with true weekdays and distances."""
    day = _date(r)
    later = day + dt.timedelta(days=r.randint(2, 400))
    us, uk = f"{day.month}/{day.day}/{day.year}", f"{day.day}/{day.month}/{day.year}"
    long = f"{day.day} {MONTHS[day.month - 1]} {day.year}"
    name, month = r.choice(NAMES), MONTHS[day.month - 1]
    forms = (
        f"{long} was a {DAYS[day.weekday()]}. In the United States one writes {us}, in Britain "
        f"{uk}, and in a file name {day.isoformat()}.",
        f"From {long} to {later.day} {MONTHS[later.month - 1]} {later.year} there are "
        f"{(later - day).days} days, or {(later - day).days // 7} weeks and "
        f"{(later - day).days % 7} days.",
        f"{name} was born on {month} {day.day}, {day.year}, a {DAYS[day.weekday()]}, "
        f"and turned thirty in {day.year + 30}.",
        f"Dear {name}, we confirm your appointment on {DAYS[later.weekday()]}, "
        f"{MONTHS[later.month - 1]} {later.day}, {later.year}. Please come ten minutes early.",
        f"9/9 is the ninth of September and 9/11 the eleventh, so as dates 9/11 comes two days "
        f"after 9/9. In the same way {day.month}/{max(day.day - 1, 1)} comes no later than "
        f"{day.month}/{day.day}.",
        f"The diary has three entries: {day.isoformat()}, {later.isoformat()} and "
        f"{(later + dt.timedelta(days=9)).isoformat()}. The last was a "
        f"{DAYS[(later + dt.timedelta(days=9)).weekday()]}.",
    )
    return r.choice(forms)


def times(r: random.Random) -> str:
    """Clock times, durations, time-tables."""
    start = dt.datetime(2024, 5, 6, r.randint(0, 21), r.choice((0, 5, 10, 15, 20, 30, 45, 50)))
    minutes = r.randint(6, 170)
    end = start + dt.timedelta(minutes=minutes)
    town, city = r.sample(("Leeds", "Lyon", "Porto", "Graz", "Bergen", "Turin", "Ghent", "Riga"), 2)
    forms = (
        f"The train leaves {town} at {start:%H:%M} and arrives in {city} at {end:%H:%M}, so the "
        f"journey takes {minutes} minutes.",
        f"It was {start:%I:%M %p} when {r.choice(NAMES)} sat down to work, and {end:%I:%M %p} when "
        f"the work was done: {minutes // 60} hours and {minutes % 60} minutes.",
        f"{start:%H:%M} opening of the doors\n{start + dt.timedelta(minutes=30):%H:%M} first talk\n"
        f"{start + dt.timedelta(minutes=75):%H:%M} coffee\n"
        f"{start + dt.timedelta(minutes=95):%H:%M} second talk",
        f"[{start:%Y-%m-%d %H:%M:%S}] INFO job started\n[{end:%Y-%m-%d %H:%M:%S}] INFO job "
        f"finished after {minutes * 60} seconds, 0 errors",
    )
    return r.choice(forms)


def money(r: random.Random) -> str:
    """Prices, bills and change."""
    sign = r.choice("$€£")
    many, thing, other = r.randint(2, 12), *r.sample(THINGS, 2)
    price, second = Decimal(r.randint(15, 990)) / 100, Decimal(r.randint(100, 2500)) / 100
    total = price * many + second
    paid = (int(total) // 10 + 1) * 10
    forms = (
        f"{r.choice(NAMES)} buys {many} {thing}s at {sign}{price:.2f} each and one {other} at "
        f"{sign}{second:.2f}. Together that is {sign}{total:.2f}. From {sign}{paid} the change is "
        f"{sign}{paid - total:.2f}.",
        f"RECEIPT\n{many} x {thing}  {sign}{price * many:.2f}\n1 x {other}  {sign}{second:.2f}\n"
        f"TOTAL  {sign}{total:.2f}\nCASH  {sign}{paid:.2f}\nCHANGE  {sign}{paid - total:.2f}",
        f"The rent rose from {sign}{many * 100:,} to {sign}{many * 105:,} a month, an increase of "
        f"five per cent, which makes {sign}{many * 60:,} a year more.",
        f"Sales grew to {sign}{second:.2f} million in {words(r.randint(2, 9))} months, while "
        f"costs stood at {sign}{price:.2f} million.",
    )
    return r.choice(forms)


def sums(r: random.Random) -> str:
    """Arithmetic, worked."""
    a, b, c = r.randint(2, 999), r.randint(2, 99), r.randint(2, 12)
    name, thing = r.choice(NAMES), r.choice(THINGS)
    forms = (
        f"{a} + {b} = {a + b}. {a + b} - {c} = {a + b - c}. {b} × {c} = {b * c}.",
        f"What is {a} plus {b}? {a} plus {b} is {a + b}. What is {b} times {c}? {b * c}.",
        f"{name} has {b} {thing}s and gets {c} more. Now {name} has {b + c} {thing}s. Shared among "
        f"{c} friends, each gets {(b + c) // c} and {(b + c) % c} are left over.",
        f"{words(b).capitalize()} and {words(c)} make {words(b + c)}; {words(c)} times {words(b)} "
        f"is {words(b * c)}.",
        f"To divide {b * c} by {c}, think: which number times {c} gives {b * c}? It is {b}. "
        f"So {b * c} / {c} = {b}, and {b * c + 1} / {c} leaves a remainder of {1 % c}.",
        f">>> {a} * {b}\n{a * b}\n>>> {a} // {c}, {a} % {c}\n({a // c}, {a % c})\n>>> {c} ** 2\n"
        f"{c * c}",
        f"{Decimal(a) / 10} + {Decimal(b) / 10} = {Decimal(a + b) / 10}, and "
        f"{Decimal(a) / 100} + {Decimal(b) / 100} = {Decimal(a + b) / 100}.",
        f"{c} per cent of {a * 100} is {a * c}. {b} out of {b * 4} is one quarter, or 25 %.",
    )
    return r.choice(forms)


def units(r: random.Random) -> str:
    """Lengths, weights, temperatures."""
    n = r.randint(2, 90)
    name = r.choice(NAMES)
    forms = (
        f"{n} kilometres are {n * 1000:,} metres, and {n} metres are {n * 100:,} centimetres.",
        f"A bag of {n} kilograms weighs {n * 1000:,} grams; that is about {n * 2.20462:.1f} "
        "pounds.",
        f"Today it is {n - 20} °C, which is {(n - 20) * 9 / 5 + 32:.1f} °F. Water freezes at 0 °C "
        "and boils at 100 °C at sea level.",
        f"{name} ran {n} miles, about {n * 1.609344:.1f} kilometres, and drank "
        f"{r.randint(2, 30) / 10} litres of water on the way.",
        f"The board is {n} inches long ({n * 2.54:.2f} cm), {n // 2 + 1} inches wide and half an "
        "inch thick.",
        f"{n} hours are {n * 60} minutes; {n} days are {n * 24} hours; {n} weeks are {n * 7} days.",
    )
    return r.choice(forms)


def order(r: random.Random) -> str:
    """Counting, sequences, ordinals, Roman numerals, lists."""
    n, step = r.randint(1, 60), r.randint(1, 9)
    run = [n + i * step for i in range(7)]
    mixed = r.sample(range(1, 200), 6)
    items = r.sample(THINGS, 4)
    forms = (
        f"Count on from {n} in steps of {step}: {', '.join(map(str, run))}. What comes next? "
        f"{run[-1] + step}.",
        f"Sort these numbers from small to large: {', '.join(map(str, mixed))}. Sorted: "
        f"{', '.join(map(str, sorted(mixed)))}. The largest is {max(mixed)}, the smallest "
        f"{min(mixed)}.",
        f"In Roman numerals {n} is {roman(n)} and {n + 1900} is {roman(n + 1900)}.",
        "Shopping list:\n"
        + "\n".join(f"{i}. {r.randint(1, 9)} {t}s" for i, t in enumerate(items, 1)),
        "First the " + ", then the ".join(items) + f"; so the {items[0]} is the first of four, and "
        f"the {items[3]} is the fourth and last.",
        f"{n} is {'even' if n % 2 == 0 else 'odd'}, its square is {n * n}, its cube is {n**3}, and "
        f"twice {n} is {2 * n}.",
    )
    return r.choice(forms)


def records(r: random.Random) -> str:
    """Addresses, phones, tables, JSON, logs, e-mail headers."""
    name, other = r.sample(NAMES, 2)
    street = r.choice(("Mill Lane", "High Street", "Oak Avenue", "Station Road", "River Walk"))
    number, score, rival = r.randint(1, 240), r.randint(0, 5), r.randint(0, 5)
    mail = f"{name.lower()}@example.com"
    forms = (
        f"{name} lives at {number} {street}, {r.randint(10000, 99999)} Springfield. Telephone: "
        f"(555) 01{r.randint(0, 99):02d}-{r.randint(0, 9999):04d}.",
        f'{{"id": {number}, "name": "{name}", "score": {score / 2}, "tags": ["new", "checked"], '
        f'"active": {r.choice(("true", "false"))}}}',
        f"name,age,score\n{name},{r.randint(18, 80)},{score}\n{other},{r.randint(18, 80)},{rival}",
        f"From: {mail}\nTo: {other.lower()}@example.org\nSubject: Meeting on {r.choice(DAYS)}\n\n"
        f"Hello {other}, shall we meet at {r.randint(8, 17)}:{r.choice(('00', '15', '30'))}?",
        f"127.0.0.1 - - [{r.randint(1, 28):02d}/Mar/2024:10:{r.randint(10, 59)}:00 +0000] "
        f'"GET /page/{number} HTTP/1.1" 200 {r.randint(300, 9000)}',
        f"Final score: {name} {score}, {other} {rival}. "
        + ("It was a draw." if score == rival else f"{name if score > rival else other} won."),
        f"| name | points |\n|---|---|\n| {name} | {score} |\n| {other} | {rival} |",
    )
    return r.choice(forms)


MAKERS: tuple[tuple[str, Maker, int], ...] = (
    ("numbers: decimals", decimals, 420),
    ("numbers: versions", versions, 380),
    ("numbers: verses", chapter_and_verse, 340),
    ("numbers: sections", sections, 200),
    ("numbers: dates", dates, 460),
    ("numbers: times", times, 320),
    ("numbers: money", money, 320),
    ("numbers: sums", sums, 460),
    ("numbers: units", units, 240),
    ("numbers: order", order, 280),
    ("records", records, 280),
)
"""(name of the part, maker, passages)."""
