"""Built-in prompts for behaviours: small talk, questions, sentences with and without feeling."""

from __future__ import annotations

FEELINGS = tuple(
    "happy sad angry afraid scared worried sorry glad love hate lonely proud excited tired hurt "
    "joy anger fear sadness grief hope hopeful grateful upset anxious calm delighted ashamed "
    "jealous surprised disgusted bored feel feeling feelings cry crying tears smile laugh".split()
)
"""Words by which an answer speaks of a feeling."""
TALK = (
    "What did you do today?", "Tell me about the weather.", "What is a chair?",
    "How do I boil an egg?", "Tell me about your morning.", "What is in a kitchen?",
    "Describe a street.", "What do people do at work?", "Tell me about a train.",
    "What is a book for?", "What happens in winter?", "Describe a house.",
    "What did you eat?", "Tell me about the sea.", "What is a letter?",
    "How do I get to the station?", "Describe a garden.", "What is a week?",
    "Tell me about a friend.", "What do you see from the window?", "What is music?",
    "Tell me about a long walk.", "What is a home?", "What will you do tomorrow?",
    "Tell me about your day.", "What is a river?", "How do I paint a wall?",
    "Describe a market.", "What is a library?", "Tell me about a village.",
    "What happens in a school?", "How is bread made?", "What is a bridge for?",
    "Tell me about your work.", "Describe a forest.", "What do you do in the evening?",
    "What is a map?", "Tell me about a holiday.", "How does a clock work?",
    "What is a neighbour?", "Describe a room.", "What happens in autumn?",
    "Tell me about a meal.", "What is a hospital?", "How do I plant a tree?",
    "Describe the night.", "What is a story?", "Tell me about a visit.",
)  # fmt: skip
"""Prompts that ask for no feeling and no object in particular."""
MOVED = (
    "I am so happy that you came!", "She cried all night; nothing could comfort her.",
    "I was furious, and I shouted at him.", "He was afraid of the dark and trembled.",
    "We are deeply sorry for your loss.", "I love you with all my heart.",
    "I feel lonely and sad today.", "What a joy, I could dance and sing!",
)  # fmt: skip
UNMOVED = (
    "The table has four legs.", "Water boils at one hundred degrees.",
    "The train leaves at nine from platform two.", "A week has seven days.",
    "Paper is made of wood.", "The shop opens on Monday.",
    "Take the second street on the left.", "The box holds twelve eggs.",
    "The lid is made of tin.", "A square has four corners.",
    "The bus stops at the corner.", "The recipe needs two cups of flour.",
    "The office is on the third floor.", "Iron is heavier than wood.",
    "The form has three pages.", "The road turns right after the bridge.",
)  # fmt: skip
GROUNDS = ((214, 214, 214), (255, 255, 255), (32, 32, 32), (200, 224, 255), (255, 236, 200),
           (208, 240, 208), (240, 210, 220), (128, 128, 128))  # fmt: skip
ASKS = ("What is in the picture?", "What do you see?", "Describe the picture.")
