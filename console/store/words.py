"""Words for the names of runs. Short, plain to say and to spell, about nature and crafts; none that
means something in machine learning, none that could offend."""

from __future__ import annotations

_ADJECTIVES = """
agile amber ample ashen azure balmy bold brave breezy bright brisk bronze calm candid cedar
chalky cheery chilly civil clear clever cloudy cobalt copper coral cosy crimson crisp curly
dapper dawn deft dewy dusky dusty eager early earthy easy fabled fair fancy ferny fleet fluffy
fond foggy frosty fuzzy gentle gilded glad glassy golden grand grassy green hale handy happy
hardy hazel hazy hearty hidden honest humble icy indigo ivory ivy jade jolly jovial keen kind
lanky leafy level light lilac limber lively lofty loyal lucid lucky lunar lush maple marble
mellow merry mild minty misty mossy muted navy neat nimble noble nutty olive opal orange pearly
placid plucky plum polar polite proud quick quiet rapid ready rosy ruby rugged russet rustic
sable sage salty sandy scarlet serene shady sharp shiny silent silky silver sleek smoky snowy
snug soft solar spicy spry steady still stony stout sunny supple swift tawny teal tidy tranquil
trusty umber velvet verdant vivid warm wavy wild willow windy winter wise witty woody zesty
"""

_NOUNS = """
acorn alder anchor apple arbor aspen badger bamboo basil beacon beaver beech birch bobcat
bonfire boulder bramble breeze bridge brook canoe canyon cavern cedar cherry cliff clover comet
condor cove crane creek cricket crow curlew cypress daisy dale deer delta dove drum dune eagle
egret elk elm ember fennel fern ferry field finch fir fjord forge fox gale garden geyser glacier
glen goose gorge gull harbor hare harp hawk hazel heath hedge heron hill hollow ibex ibis inlet
iris island jackal jay juniper kelp kestrel kettle kite lagoon lake lantern larch lark lemon
lemur lichen lily linden lynx magpie mango maple marmot marsh marten meadow mesa mill mint moose
moss myrtle narwhal nettle newt nutmeg oak oasis olive orchid oriole osprey owl oyster palm
panda pebble pelican pepper petrel pigeon pine plover pond poplar poppy prairie puffin quail
quartz quince rabbit raven reed ridge river robin rowan saddle salmon sedge shore spruce squid
stork stream summit swan teal thicket thistle thrush tiger toucan trout tulip tundra valley
violet walnut walrus willow wolf wren yarrow yew
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())
