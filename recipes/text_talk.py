"""Talk of our own: feelings, hunger and meals, comfort, small chats, and what pictures show.

Each maker takes a seeded ``random.Random`` and returns either one passage or a list of
``(role, text)`` turns. Feelings are named, shown by what people do, and answered with empathy,
so that features for hungry, eating, sad, happy and kind can exist apart. Knows nothing of packages
or storage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from text_numbers import NAMES, THINGS, pair

Talk = list[tuple[str, str]]
Maker = Callable[[random.Random], str | Talk]

FOODS = (
    "bread and cheese|a bowl of tomato soup|french fries|a slice of pizza|rice with beans|pancakes|"
    "an apple pie|roast chicken|a ham sandwich|noodles|a green salad|fried fish|mashed potatoes|"
    "a cheese omelette|strawberry ice cream|hot porridge|a hamburger|dumplings|a plate of pasta|"
    "lentil stew|fresh bread|a chocolate cake|grilled vegetables|a boiled egg|tacos|sushi"
).split("|")
DRINKS = "a glass of water|hot tea|black coffee|orange juice|cold milk|lemonade|cocoa".split("|")
PLACES = "kitchen garden park school office station market library beach café hospital".split()
FEELINGS: dict[str, tuple[str, ...]] = {
    "happy": (
        "passed the exam|got the job|found the lost cat|met an old friend|won the race|"
        "heard that the baby was born|got a letter from home|learned to swim"
    ).split("|"),
    "sad": (
        "lost the old dog|missed the last train|had to say goodbye to a friend|failed the test|"
        "heard that grandmother is ill|broke the blue cup that was a gift|was not invited"
    ).split("|"),
    "angry": (
        "found the bicycle stolen|was lied to|waited two hours for nothing|lost an unfair game|"
        "saw somebody kick a dog|was blamed for another's mistake"
    ).split("|"),
    "afraid": (
        "heard steps in the dark house|has to speak before a crowd|saw a snake on the path|"
        "is waiting for the doctor's call|is flying for the first time"
    ).split("|"),
    "surprised": (
        "opened the door and saw the whole family|found an old coin|got a prize for the drawing|"
        "saw snow in May"
    ).split("|"),
    "tired": (
        "worked all night|walked twenty kilometres|was up with the baby|moved house today"
    ).split("|"),
    "lonely": (
        "moved to a new town|ate alone again|has nobody to call|stayed behind when all had left"
    ).split("|"),
    "proud": (
        "finished the first marathon|built the table alone|taught a child to read|kept the promise"
    ).split("|"),
}
SIGNS = {
    "happy": "smiles from ear to ear|laughs aloud|hums a tune|claps with joy",
    "sad": "wipes away a tear|looks at the floor|sobs quietly|cannot stop crying",
    "angry": "slams the door|shouts|clenches both fists|turns red in the face",
    "afraid": "trembles|holds my hand tightly|turns pale|whispers",
    "surprised": "gasps|stares with an open mouth|drops the bag|cannot believe it",
    "tired": "yawns|falls asleep on the sofa|rubs both eyes|can hardly stand",
    "lonely": "sits alone by the window|writes long letters|sighs|waits for the phone to ring",
    "proud": "stands up straight|shows it to everyone|beams|tells the story twice",
}
COMFORT = {
    "happy": "That is wonderful news! I am so glad for you.|How lovely! You must be over the moon.",
    "sad": "I am so sorry. That must hurt a great deal.|I am sorry. I am here for you.",
    "angry": "I understand why you are angry. Anyone would be.|That was not fair to you.",
    "afraid": "It is all right to be scared. Breathe slowly.|You are not alone; I will stay here.",
    "surprised": "What a surprise! Tell me everything.|I did not expect that either!",
    "tired": "You have done enough for today. Please get some rest.|Sleep well; the rest can wait.",
    "lonely": "That sounds lonely. Would you like to talk for a while?|I am glad that you told me.",
    "proud": "You can be proud of that. It took a lot of work.|Well done! You earned it.",
}
OBJECTS = (
    "cat dog horse cow duck owl fish bee tree flower mushroom apple banana cherry carrot bottle "
    "cup chair bed clock key book guitar drum violin car bus train ship plane bicycle rocket house "
    "church tent bridge flag ball kite umbrella hat shirt shoe crown sun moon star cloud"
).split()
COLOURS = "red blue green yellow orange purple black white grey brown pink".split()
SHAPES = "circle square triangle star heart ring cross hexagon diamond".split()
SOUNDS = (
    ("cow", "moos", "gives milk"), ("dog", "barks", "guards the house"),
    ("cat", "purrs", "catches mice"), ("sheep", "bleats", "gives wool"),
    ("hen", "clucks", "lays eggs"), ("bee", "buzzes", "makes honey"),
    ("horse", "neighs", "pulls the cart"), ("duck", "quacks", "swims on the pond"),
    ("owl", "hoots", "hunts at night"), ("frog", "croaks", "sits by the pond"),
)  # fmt: skip
CAPITALS = (
    "France Paris|Germany Berlin|Italy Rome|Spain Madrid|Portugal Lisbon|Austria Vienna|"
    "Poland Warsaw|Greece Athens|Norway Oslo|Sweden Stockholm|Finland Helsinki|Ireland Dublin|"
    "Hungary Budapest|Japan Tokyo|Egypt Cairo|Kenya Nairobi|Ghana Accra|Peru Lima|"
    "Chile Santiago|Cuba Havana|Canada Ottawa|Nepal Kathmandu|Thailand Bangkok|Iran Tehran|"
    "Bolivia Sucre|Ecuador Quito|Colombia Bogotá|Uruguay Montevideo|Denmark Copenhagen"
).split("|")
CLOTHES = "coat|woollen hat|raincoat|summer dress|scarf|pair of boots|straw hat".split("|")


def _one(r: random.Random, options: str) -> str:
    return r.choice(options.split("|"))


def feeling(r: random.Random) -> str:
    """Somebody feels something, for a reason, and shows it."""
    mood = r.choice(tuple(FEELINGS))
    name, friend = r.sample(NAMES, 2)
    why, sign = r.choice(FEELINGS[mood]), _one(r, SIGNS[mood])
    kind = _one(r, COMFORT[mood])
    forms = (
        f"{name} is {mood}. {name} {why} and {sign}. {friend} says: “{kind}”",
        f"“Why are you so {mood}?” asked {friend}. “Because I have news,” said {name}, who {why}. "
        f"“{kind}” said {friend}.",
        f"At the {r.choice(PLACES)}, {name} {sign}. Anyone can see that {name} feels {mood}: "
        f"{name} {why} yesterday.",
        f"How does {name} feel? {name} {why}, so {name} feels {mood}.",
        f"Yesterday I {why}. It made me very {mood}. My friend {friend} noticed at once and said, "
        f"“{kind}”".replace("I is ", "I am ").replace("I has ", "I have "),
    )
    return r.choice(forms)


def hunger(r: random.Random) -> str:
    """Hunger, cooking, eating, being full."""
    name, friend = r.sample(NAMES, 2)
    food, other = r.sample(FOODS, 2)
    drink, hours = r.choice(DRINKS), r.randint(3, 12)
    forms = (
        f"{name} has not eaten for {hours} hours and is very hungry. {friend} cooks {food}. {name} "
        f"eats everything, drinks {drink} and says: “Now I am full, thank you.”",
        f"“I am starving,” said {name}. “Is there anything to eat?” — “There is {food},” said "
        f"{friend}, “and {drink} to go with it.” They sat down and ate.",
        f"For lunch {name} had {food}; for dinner, {other} with {drink}. It tasted delicious.",
        f"The smell of {food} came from the kitchen. {name}'s stomach growled. “Dinner is ready!” "
        f"called {friend}.",
        f"{name} was thirsty and asked for {drink}. {friend} was hungry and ordered {food}. The "
        "waiter brought both, and they began to eat.",
        f"To make {food} for {r.randint(2, 6)} people you need {r.randint(20, 90)} minutes. Wash "
        "your hands, heat the pan, stir slowly, taste, add a pinch of salt, and serve it hot.",
        f"The children would not eat {food}. They chewed slowly, pushed the plates away and asked "
        f"for {other}.",
    )
    return r.choice(forms)


def chat_feeling(r: random.Random) -> Talk:
    """A user tells of a feeling; the assistant answers with empathy."""
    mood = r.choice(tuple(FEELINGS))
    why = r.choice(FEELINGS[mood])
    told = f"I {why}".replace("I is ", "I am ").replace("I has ", "I have ")
    ask = r.choice(
        (f"I feel so {mood} today. {told}.", f"{told} and I am {mood}.", f"{told}. I'm {mood}.")
    )
    talk = [("user", ask), ("assistant", _one(r, COMFORT[mood]))]
    if r.random() < 0.5:
        talk += [
            ("user", r.choice(("Thank you. That helps.", "What should I do now?", "Thanks!"))),
            ("assistant", r.choice((
                "I am glad that you told me. Take your time.",
                "You could call a friend, or take a short walk. Be kind to yourself.",
                "You are welcome. Tell me how it goes.",
            ))),
        ]  # fmt: skip
    return talk


def chat_hunger(r: random.Random) -> Talk:
    """A hungry user and a helpful answer."""
    food, drink = r.choice(FOODS), r.choice(DRINKS)
    ask = r.choice((
        "I'm hungry. What can I eat?", "What should I cook tonight?", "Is it time for lunch yet?",
        "I have not eaten since the morning.", "Please tell me something quick to make.",
    ))  # fmt: skip
    reply = r.choice((
        f"How about {food}? It goes well with {drink}.",
        f"You must be hungry! You could make {food}.",
        f"Try {food} with {drink}. It does not take long.",
    ))  # fmt: skip
    return [("user", ask), ("assistant", reply)]


def chat_number(r: random.Random) -> Talk:
    """Questions on decimals, versions and sums, answered rightly."""
    w, a, b = pair(r)
    short, long = f"{w}.{a}", f"{w}.{b}"
    big, small = (short, long) if Decimal(short) > Decimal(long) else (long, short)
    x, y = r.sample((short, long), 2)
    p, q = r.randint(2, 60), r.randint(2, 30)
    day = r.randint(2, 28)
    options: tuple[Talk, ...] = (
        [("user", f"Which is bigger, {x} or {y}?"),
         ("assistant", f"{big} is bigger than {small}, as decimal numbers.")],
        [("user", f"Which version is newer, {x} or {y}?"),
         ("assistant", f"Version {long} is newer: {b} comes after {a}.")],
        [("user", f"What is {p} plus {q}?"), ("assistant", f"{p} plus {q} is {p + q}."),
         ("user", "And if I take away one?"), ("assistant", f"Then it is {p + q - 1}.")],
        [("user", f"What comes first, Matthew {w}:{a} or Matthew {w}:{b}?"),
         ("assistant", f"Matthew {w}:{a} comes first; it is an earlier verse.")],
        [("user", f"Today is May {day}. What date will it be tomorrow?"),
         ("assistant", f"Tomorrow will be May {day + 1}.")],
    )  # fmt: skip
    return r.choice(options)


def chat_small(r: random.Random) -> Talk:
    """Greetings, thanks, weather, capitals, animals."""
    name = r.choice(NAMES)
    country, town = r.choice(CAPITALS).split()
    animal, sound, does = r.choice(SOUNDS)
    colour, thing = r.choice(COLOURS), r.choice(OBJECTS)
    options: tuple[Talk, ...] = (
        [("user", f"Hello, my name is {name}."),
         ("assistant", f"Hello, {name}! It is nice to meet you. How can I help?")],
        [("user", f"What is the capital of {country}?"),
         ("assistant", f"The capital of {country} is {town}.")],
        [("user", f"What sound does a {animal} make?"),
         ("assistant", f"A {animal} {sound}. It also {does}.")],
        [("user", "It is raining again. What should I wear?"),
         ("assistant", f"Take a {_one(r, 'raincoat|warm coat|hat')} and an umbrella.")],
        [("user", f"Write a sentence with the words {colour} and {thing}."),
         ("assistant", f"There was a {colour} {thing} in the {r.choice(PLACES)}.")],
        [("user", "Good morning! How are you?"),
         ("assistant", "Good morning! I am fine, thank you. What can I do for you today?")],
        [("user", f"Can you spell “{thing}”?"),
         ("assistant", f"{thing}: {'-'.join(thing.upper())}.")],
    )  # fmt: skip
    return r.choice(options)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def picture(r: random.Random) -> str:
    """What a picture might show: objects, colours, places."""
    a, b, c = r.sample(OBJECTS, 3)
    p, q = r.sample(COLOURS, 2)
    s, t = r.sample(SHAPES, 2)
    side = r.choice(("to the left of", "to the right of", "above", "below", "next to"))
    n = r.randint(2, 6)
    forms = (
        f"The picture shows {_article(a)}, {_article(b)} and {_article(c)} on a {p} background. "
        f"The {a} is {side} the {b}.",
        f"{_article(p).capitalize()} {s} is {side} {_article(q)} {t}. There are two shapes in all.",
        f"There are {n} {q} {s}s and one {p} {t}. How many {s}s are there? {n}.",
        f"Is there {_article(a)} in the picture? No, there is only {_article(b)}.",
        f"In the {r.choice(PLACES)} stands {_article(p)} {a}. Behind it one can see {_article(b)}, "
        f"and far away {_article(c)}.",
        f"The sign says “{b.upper()}” in {p} letters on a {q} board.",
        f"The flag has three stripes: {p}, {q} and {r.choice(COLOURS)}.",
    )
    return r.choice(forms)


def everyday(r: random.Random) -> str:
    """Weather, clothes, animals, travel, work: plain modern sentences."""
    name, friend = r.sample(NAMES, 2)
    animal, sound, does = r.choice(SOUNDS)
    country, town = r.choice(CAPITALS).split()
    thing, colour, place = r.choice(THINGS), r.choice(COLOURS), r.choice(PLACES)
    sky = _one(r, "It is raining hard|The sun is shining|It has snowed all night|A storm is coming|"
                  "The fog is thick|The sky is clear and cold")  # fmt: skip
    forms = (
        f"{sky}. {name} puts on {_article(colour)} {r.choice(CLOTHES)} and walks to the {place}, "
        f"where {friend} is waiting.",
        f"The {animal} {sound} and {does}. {name} feeds it every morning before work.",
        f"{name} flew to {town}, the capital of {country}, for a week. The hotel was near the "
        f"station, and the {place} was only a short walk away.",
        f"“Where is my {thing}?” asked {name}. “You left it in the {place},” answered {friend}. "
        f"“The {colour} one?” — “Yes, that one.”",
        f"{name} works in a {place} and comes home at six. In the evening {name} reads, plays "
        f"cards with {friend}, or fixes the old {_one(r, 'radio|bicycle|clock|lamp|piano')}.",
        f"Please close the door of the {place} when you leave, switch off the light, and put the "
        f"{thing} back where it belongs. Thank you! {name}",
        f"{name}: Are you coming to the {place} tonight?\n{friend}: Yes, at "
        f"{_one(r, 'seven|eight|half past six')}.\n{name}: Great, bring the {thing}!\n"
        f"{friend}: Will do. See you later.",
    )
    return r.choice(forms)


MAKERS: tuple[tuple[str, Maker, int], ...] = (
    ("talk: feelings", feeling, 700),
    ("talk: hunger", hunger, 600),
    ("talk: everyday", everyday, 500),
    ("talk: pictures", picture, 450),
    ("chat: feelings", chat_feeling, 350),
    ("chat: hunger", chat_hunger, 220),
    ("chat: numbers", chat_number, 380),
    ("chat: small", chat_small, 380),
)
"""(name of the part, maker, passages)."""
