"""What the synthetic speakers say: two-part lines that read as one emotion each, disjoint across splits.

Each entry is (emotion, split): situations, remarks; fragments are separated by a slash. A line is one of each,
in either order, so that no single keyword gives an emotion away and test lines share no wording with training.
"""

from __future__ import annotations

from random import Random

from lsgmer.core.records import Split

FRAGMENTS: dict[tuple[str, Split], tuple[str, str]] = {
    ("angry", "train"): (
        """
They towed my car while I was paying the meter / The landlord kept our deposit and ignored every letter /
He read my private messages behind my back / My manager took credit for the work I did all weekend /
She scratched the new door and walked off smirking / The airline cancelled the flight and blamed the passengers /
Somebody dumped their rubbish on our front lawn / The builder charged us twice and left a hole in the roof /
You promised to tell me first, and then you told everyone else / They put me on hold for two hours and hung up /
The neighbours drilled through the wall at midnight / He cut in front of the whole queue and sneered /
The bank froze my account without a single warning / You threw out my notes without asking me /
The coach yelled at the children for missing one pass / They raised the rent for a flat with no heating /
She spread that lie around the entire office / The garage lied about the repairs and sent a huge bill /
Someone stole the charity box from the counter / He broke the window and let my brother take the blame
""",
        """
This is completely unacceptable / I am sick of being treated like a fool / How dare they do that to us /
Do not ever speak to me that way again / I want an explanation right now / Nobody gets away with that /
That was a disgusting thing to do / I have had enough of these excuses / Somebody is going to answer for this /
What on earth were they thinking / I could have slammed the phone against the wall / They have some nerve
""",
    ),
    ("angry", "valid"): (
        """
The delivery man hurled my parcel over the fence / The council fined us for their own mistake /
He borrowed my bike and sold it to a stranger / They served us spoiled food and mocked us for complaining /
My cousin forged my signature on the form / The driver swerved at us and swore out of the window /
She deleted my files to make me look bad / The shop refused the refund and called me a liar
""",
        """
I will not put up with it any longer / It makes my blood boil / Get out of my sight /
They should be ashamed of themselves / I am going to complain until somebody listens
""",
    ),
    ("angry", "test"): (
        """
The contractor wrecked the kitchen and demanded more money / They let their dog attack our cat and shrugged /
My flatmate emptied my savings jar and denied it / The clerk insulted my mother to her face /
He parked across the ambulance bay just to buy cigarettes / The company sacked her for reporting the leak /
You ridiculed him in front of all his friends / They cheated in the final and then bragged about it /
The inspector tore up our permit for no reason / Vandals smashed the windows of the school again /
She hid the bill and left me to pay it / The agency sold our phone number to crooks
""",
        """
I will fight this every step of the way / This is an outrage / Stop lying to my face / What gives them the right /
I refuse to let this go / They are rotten to the core / I demand to see whoever is responsible /
That is the last straw
""",
    ),
    ("happy", "train"): (
        """
We got the keys to our first house this morning / My sister had her baby and they are both well /
The choir won first prize at the festival / I passed the driving test on the first try /
Our old friends turned up with a huge cake / They offered me the job I always dreamed of /
The whole garden came into bloom overnight / Dad surprised us with tickets to the seaside /
Our puppy learned to open the gate by herself / The team scored in the very last minute /
I finally met the author of my favourite book / The children built a snowman taller than me /
She said yes, and the wedding is in June / We danced in the kitchen until midnight /
The doctor says he is completely cured / My painting is going to hang in the gallery /
Grandma beat everyone at cards and roared with laughter / We won the raffle and a weekend in Paris /
The sun came out just as the parade began / My best friend is moving back to town
""",
        """
I cannot stop smiling / What a wonderful day this is / This calls for a celebration /
I could hug everyone in the street / It is better than I ever hoped / We are all over the moon /
Life feels so good right now / Let us open the good lemonade / I have never laughed so much /
Everyone was cheering and clapping / That is the best news in years / I feel like singing out loud
""",
    ),
    ("happy", "valid"): (
        """
The twins took their first steps today / My scholarship came through with full marks /
Our band got a standing ovation / He proposed on the beach at sunset / We found the lost kitten safe and purring /
The school play was a roaring success / I ran the whole race and beat my record /
All the cousins are coming for the holidays
""",
        """
I am grinning from ear to ear / It was pure magic / We cheered until we were hoarse /
I feel like the luckiest person alive / How lovely it all turned out
""",
    ),
    ("happy", "test"): (
        """
My brother made it home in time for my birthday / The surgery went perfectly and she is walking again /
They picked our recipe as the winner / We watched dolphins leap beside the boat /
My daughter read her first story out loud to me / The crowd sang along to every song we played /
We paid off the last of the loan today / The bride danced with her grandfather /
I got the leading part in the musical / Our little café was full on opening night /
The rescue dog wagged his tail and chose us / He made the national team after all
""",
        """
I jumped for joy right there / It warmed my heart / We have so much to be thankful for /
I want to tell the whole world / That made my entire year / It was a dream come true /
I am so proud and so excited / Hooray, we did it
""",
    ),
    ("neutral", "train"): (
        """
The meeting starts at ten in room four / The library opens at nine on weekdays /
Please put the folders on the second shelf / The bus to the station runs every twenty minutes /
The form has three pages and a cover sheet / Water boils at a lower temperature in the mountains /
The report lists the figures for each quarter / Turn left after the bridge and follow the signs /
The printer is next to the supply cupboard / The recipe needs two cups of flour and some salt /
They moved the desk closer to the window / The parcel weighs about four kilograms /
The store sells paper, pens and envelopes / The road is being resurfaced between the two junctions /
Her appointment is on the third of May / The museum keeps the maps on the upper floor /
This cable connects the screen to the computer / He wrote the address on the back of the card /
The survey covers twelve towns along the river / The kettle is on the counter beside the toaster
""",
        """
The details are on the notice board / It takes about a quarter of an hour / The same applies next week /
There is a copy in the drawer / You can check the number on the website / The office confirmed it by email /
That is the usual arrangement / It comes in two sizes / The schedule has not changed /
Someone will update the list on Monday / The instructions are printed on the label / It is on the ground floor
""",
    ),
    ("neutral", "valid"): (
        """
The train leaves from platform six / The course lasts for eight weeks / The curtains are made of plain cotton /
A new sign was put up near the entrance / The file is saved in the shared folder /
The river flows south towards the coast / We order the printer paper twice a year /
The lift stops at every floor
""",
        """
The times are listed on the door / It measures about two metres / A receipt is included /
The code has five digits / Either entrance can be used
""",
    ),
    ("neutral", "test"): (
        """
The bakery is across from the post office / The committee will read the minutes on Thursday /
The lecture is recorded and stored on a server / A standard sheet is wider than this envelope /
The gardener trims the hedge in March / The ferry carries cars and bicycles /
The second chapter describes the method / The thermostat is set to nineteen degrees /
The keys for the storeroom hang behind the desk / They replaced the bulbs in the hallway /
The catalogue is sorted by year / The path goes around the pond
""",
        """
The form can be handed in at reception / There are forty seats in total / The rest is described in the appendix /
It is the grey one on the left / The list is in alphabetical order / The bill arrives at the end of the month /
It usually opens in the afternoon / Both versions are about the same length
""",
    ),
    ("sad", "train"): (
        """
We buried our old dog under the apple tree / My grandmother does not recognise me any more /
He left without saying goodbye to anyone / The house has been silent since the children went away /
I found her empty chair by the window / The doctors told us there is nothing more to try /
My best friend stopped answering my letters / They closed the little shop where my father worked /
She cried herself to sleep again last night / I missed the last chance to see him alive /
Our team folded and everyone drifted apart / The old theatre burned down with all its memories /
I spent my birthday alone in a hospital corridor / The baby bird did not survive the storm /
My marriage ended with a note on the table / He never came back from the sea /
I gave away her clothes this afternoon / They had to sell the farm after four generations /
No one came to the funeral except me / I lost the ring my mother left me
""",
        """
I do not know how to go on / It hurts every single day / I miss those times so much /
There is an emptiness that will not leave / I just want to lie down and weep / Nothing will ever be the same /
I keep thinking it was my fault / My heart feels so heavy / I have no tears left / It is so lonely here now /
I wish I could turn back the clock / All of it is gone for good
""",
    ),
    ("sad", "valid"): (
        """
The nursing home called late in the night / I packed his toys into a box for the attic /
Our daughter lost the baby in the spring / The last of my old classmates passed away /
I waited at the station but she never arrived / My dream of playing the violin is over /
The cottage by the lake had to be torn down / He sits by himself at every meal
""",
        """
I cannot hold back the tears / It breaks my heart / I feel so small and lost / Some wounds never heal /
There is nobody left to talk to
""",
    ),
    ("sad", "test"): (
        """
My twin brother died three winters ago today / The cat we raised was hit on the road /
I still set a place for my husband at dinner / They told her the illness has returned /
My son has not spoken to me in years / The orphanage could not keep the two sisters together /
I failed the exam and let down my parents / We scattered his ashes in the cold rain /
All the photographs were lost in the flood / She waved from the train for the last time /
The village is deserted and the school is shut / I was the only one nobody invited
""",
        """
The grief comes in waves / I feel hollow inside / I would give anything to hold her hand again /
Everything seems grey and pointless / I could only sit there and sob / We never got to say farewell /
It is more than I can bear / I am tired of hoping
""",
    ),
}


def fragments(emotion: str, split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the situations and the remarks of `emotion` in `split`."""
    situations, remarks = (tuple(part.strip() for part in block.split("/")) for block in FRAGMENTS[emotion, split])
    return situations, remarks


def lines(emotion: str, split: Split, count: int, random: Random) -> list[str]:
    """Return `count` lines, all different until the combinations run out, then from the start again."""
    situations, remarks = fragments(emotion, split)
    pairs = [
        (first, second) for one in situations for other in remarks for first, second in ((one, other), (other, one))
    ]
    random.shuffle(pairs)
    # The two orders of a pair are nearly the same text: the second is used only after every pair has been.
    fresh = {frozenset(pair): pair for pair in pairs}
    ordered = [*fresh.values(), *(pair for pair in pairs if fresh[frozenset(pair)] != pair)]
    return [". ".join(ordered[i % len(ordered)]) + "." for i in range(count)]
