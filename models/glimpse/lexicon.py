"""Words that captions use, so that questions can be made from them without a parser."""

from __future__ import annotations

from dataclasses import dataclass

_PERSON = (
    "person people someone group crowd player players adult adults kid kids child children toddler baby team couple"
)
_RIDER = "rider biker cyclist skateboarder snowboarder skier surfer climber hiker runner dancer worker performer"


@dataclass(frozen=True)
class Thing:
    """Something that a caption can mention.

    Attributes:
        name: as a question says it, with its article.
        words: any of them in a caption mentions it.
        unsure: any of them in a caption makes it unsafe to say that the thing is absent.
    """

    name: str
    words: frozenset[str]
    unsure: frozenset[str]


def _thing(name: str, words: str, unsure: str = "") -> Thing:
    return Thing(name, frozenset(words.split()), frozenset(unsure.split()))


THINGS = (
    _thing("a man", "man men guy guys gentleman male", f"{_PERSON} {_RIDER} boy boys lady he his him father"),
    _thing("a woman", "woman women lady ladies female", f"{_PERSON} {_RIDER} girl girls she her mother bride"),
    _thing("a boy", "boy boys", f"{_PERSON} {_RIDER} man he his son"),
    _thing("a girl", "girl girls", f"{_PERSON} {_RIDER} woman lady she her daughter"),
    _thing("a child", "child children kid kids boy boys girl girls toddler baby", "person people someone group crowd"),
    _thing("a person", "person people man men woman women boy boys girl girls child children guy lady kid kids toddler "
           "baby player players skier surfer climber biker cyclist snowboarder skateboarder hiker someone",
           "group crowd rider riding team couple performer his her he she racer driver horse motorcycle hand leg legs"),
    _thing("a dog", "dog dogs puppy puppies greyhound poodle terrier retriever labrador greyhounds", "animal animals"),
    _thing("a cat", "cat cats kitten", "animal animals"),
    _thing("a horse", "horse horses pony", "animal rider riding rides cowboy"),
    _thing("a bird", "bird birds duck ducks seagull seagulls pigeons eagle", "animal flying"),
    _thing("a cow", "cow cows bull", "animal cattle cowboy"),
    _thing("a ball", "ball balls football soccer basketball baseball volleyball", "toy tennis game rugby golf croquet"),
    _thing("a bicycle", "bicycle bicycles bike bikes biker cyclist bicyclist", "motorcycle rider rides riding"),
    _thing("a motorcycle", "motorcycle motorcycles motorbike motorcyclist", "bike biker rider motocross riding"),
    _thing("a car", "car cars truck trucks taxi van jeep", "vehicle traffic street road race"),
    _thing("a boat", "boat boats kayak canoe raft ship sailboat", "water river lake ocean"),
    _thing("a skateboard", "skateboard skateboarder skateboarding skateboarders skateboards", "board skater ramp"),
    _thing("a surfboard", "surfboard surfboards surfer surfers surfing", "board wave surf"),
    _thing("a snowboard", "snowboard snowboarder snowboarding snowboarders", "ski skis skier skiing board snow"),
    _thing("a frisbee", "frisbee", "disc toy object"),
    _thing("a guitar", "guitar guitars", "band musician music instrument"),
    _thing("a bench", "bench benches", "sitting sits seat"),
    _thing("a camera", "camera cameras photographer", "picture photo pose posing"),
    _thing("a hat", "hat hats cap caps", "helmet hood costume cowboy"),
    _thing("a helmet", "helmet helmets", "hat bike biker motorcycle football hockey skateboard"),
    _thing("snow", "snow snowy", "ski skis skier skiing snowboard snowboarder sled ice winter slope mountain"),
    _thing("a beach", "beach beaches", "sand sandy ocean shore sea surf waves"),
    _thing("a swimming pool", "pool pools", "swimming swim water swims dive diving"),
    _thing("water", "water ocean lake river sea pool stream pond waves wave swimming swims surfing surfer splashing",
           "beach wet boat rain swim kayak fountain shore fishing dock"),
    _thing("grass", "grass grassy lawn", "field yard park hill green outside outdoors meadow"),
    _thing("a street", "street streets road sidewalk", "city traffic car building bus path outside walking"),
    _thing("a building", "building buildings house", "city street store church downtown outside"),
    _thing("a tree", "tree trees woods forest wooded", "leaves branch park outside yard outdoors"),
    _thing("a rock", "rock rocks rocky boulder cliff", "mountain stone climbing climber climbs"),
    _thing("a mountain", "mountain mountains", "hill cliff snow slope rock peak skier"),
    _thing("a fence", "fence fences", "gate railing hurdle obstacle"),
    _thing("a swing", "swing swings swinging", "playground"),
    _thing("a table", "table tables", "restaurant eating desk"),
)  # fmt: skip

ACTIONS = {
    "running": "running runs run racing races race chasing chases sprinting",
    "jumping": "jumping jumps jump leaping leaps leap midair airborne",
    "swimming": "swimming swims swim",
    "sitting": "sitting sits sit seated",
    "standing": "standing stands stand",
    "walking": "walking walks walk",
    "climbing": "climbing climbs climb climber",
    "riding": "riding rides ride rider biker skateboarding surfing",
    "playing": "playing plays play player players game",
    "dancing": "dancing dances dance",
    "eating": "eating eats eat",
    "skiing": "skiing skis skier ski",
    "smiling": "smiling smiles smile laughing",
    "sleeping": "sleeping sleeps asleep",
    "reading": "reading reads book",
    "fishing": "fishing fishes",
}
# Actions that exclude one another well enough for a "no" to be safe.
STILL = frozenset({"sitting", "sleeping", "reading", "standing", "eating"})
MOVING = frozenset({"running", "jumping", "swimming", "climbing", "riding", "dancing", "skiing"})

# Kinds too wide to be said with a label.
WIDE_KINDS = frozenset({"fruit", "fruits", "vegetable", "vegetables", "animal", "animals", "object", "food"})

COLOURS = (
    ["black", "white", "brown", "red", "blue", "green", "yellow", "orange", "pink", "purple", "tan", "grey", "gray"]
)  # fmt: skip
COLOUR_OF = [
    "dog",
    "puppy",
    "horse",
    "cat",
    "bird",
    "shirt",
    "t-shirt",
    "jacket",
    "dress",
    "hat",
    "cap",
    "coat",
    "shorts",
    "pants",
    "car",
    "ball",
    "bike",
    "helmet",
    "sweater",
    "suit",
    "hair",
    "boat",
    "truck",
    "toy",
    "frisbee",
    "bicycle",
    "motorcycle",
    "skirt",
    "uniform",
    "wall",
    "umbrella",
    "jersey",
    "vest",
    "top",
    "shoes",
]
PLURAL = frozenset({"shorts", "pants", "shoes"})
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}
COUNTED = {
    "dog": "dogs", "man": "men", "woman": "women", "boy": "boys", "girl": "girls", "child": "children",
    "person": "people",
    "horse": "horses", "kid": "kids", "player": "players",
}  # fmt: skip
SUBJECTS = frozenset(
    [
        "man",
        "men",
        "woman",
        "women",
        "boy",
        "boys",
        "girl",
        "girls",
        "child",
        "children",
        "person",
        "people",
        "dog",
        "dogs",
        "guy",
        "lady",
        "kid",
        "kids",
        "toddler",
        "baby",
        "player",
        "players",
        "skier",
        "surfer",
        "climber",
        "biker",
        "cyclist",
        "snowboarder",
        "skateboarder",
        "hiker",
        "horse",
        "bird",
        "group",
        "couple",
        "crowd",
    ]
)
PLACES = frozenset(
    [
        "water",
        "snow",
        "grass",
        "field",
        "beach",
        "street",
        "pool",
        "ocean",
        "lake",
        "river",
        "park",
        "woods",
        "forest",
        "sand",
        "road",
        "track",
        "mountain",
        "hill",
        "air",
        "city",
        "playground",
        "sidewalk",
        "yard",
        "room",
        "stage",
        "bench",
        "dirt",
        "path",
        "wall",
        "trail",
        "building",
        "pond",
        "kitchen",
        "restaurant",
        "store",
        "gym",
        "boat",
        "bed",
        "couch",
        "chair",
        "table",
        "cliff",
        "rock",
        "court",
        "skatepark",
        "ramp",
        "lawn",
        "sea",
        "waves",
        "wave",
        "tree",
        "fence",
    ]
)
NOT_SHOWN = (
    "What is the person's name?",
    "What is the dog's name?",
    "What time is it?",
    "In which year was this taken?",
    "Who took the picture?",
    "What is the phone number?",
    "How much did it cost?",
    "What are they talking about?",
    "Which city is this?",
    "How old is the person exactly?",
    "What happened before this?",
    "What is the weather tomorrow?",
)
