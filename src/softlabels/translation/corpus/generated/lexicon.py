"""The words of the generated corpus.

A German choice is written `one / other` where English has a single word for two German ones: the first is taken
two times out of three, so that nobody can always be right.
"""

from __future__ import annotations

from softlabels.translation.corpus.generated.words import adjective, adverb, noun, rows, verb

# english plural | he, she or it | classes | german gender plural
_NOUNS = """
man men | he | person | mann m männer
woman women | she | person | frau f frauen
child children | it | person | kind n kinder
boy boys | he | person | junge m jungen weak
girl girls | she | person | mädchen n mädchen
teacher teachers | he | person | lehrer m lehrer
student students | he | person | student m studenten weak
doctor doctors | she | person | ärztin f ärztinnen
neighbour neighbours | he | person | nachbar m nachbarn weak
friend friends | he | person | freund m freunde
king kings | he | person | könig m könige
queen queens | she | person | königin f königinnen
mother mothers | she | person | mutter f mütter
father fathers | he | person | vater m väter
sister sisters | she | person | schwester f schwestern
brother brothers | he | person | bruder m brüder
aunt aunts | she | person | tante f tanten
uncle uncles | he | person | onkel m onkel
farmer farmers | he | person | bauer m bauern weak / landwirt m landwirte
guest guests | he | person | gast m gäste
dog dogs | it | animal | hund m hunde
cat cats | it | animal | katze f katzen
horse horses | it | animal | pferd n pferde
bird birds | it | animal | vogel m vögel
cow cows | it | animal | kuh f kühe
sheep sheep | it | animal | schaf n schafe
bear bears | it | animal | bär m bären weak
mouse mice | it | animal | maus f mäuse
book books | it | thing text | buch n bücher
letter letters | it | thing text | brief m briefe
newspaper newspapers | it | thing text | zeitung f zeitungen
story stories | it | text | geschichte f geschichten / erzählung f erzählungen
picture pictures | it | thing art | bild n bilder
song songs | it | sound | lied n lieder
key keys | it | thing tool | schlüssel m schlüssel
knife knives | it | thing tool | messer n messer
bicycle bicycles | it | thing tool | fahrrad n fahrräder / rad n räder
car cars | it | thing tool | auto n autos / wagen m wagen
bag bags | it | thing openable | tasche f taschen
coat coats | it | thing clothes | mantel m mäntel
hat hats | it | thing clothes | hut m hüte
cap caps | it | thing clothes | mütze f mützen / kappe f kappen
shirt shirts | it | thing clothes | hemd n hemden
cup cups | it | thing | tasse f tassen
ball balls | it | thing | ball m bälle
flower flowers | it | thing art | blume f blumen
stone stones | it | thing | stein m steine
gift gifts | it | thing | geschenk n geschenke
apple apples | it | thing food | apfel m äpfel
egg eggs | it | thing food | ei n eier
pear pears | it | thing food | birne f birnen
cake cakes | it | thing food | kuchen m kuchen
soup soups | it | food | suppe f suppen
orange oranges | it | thing food | orange f orangen / apfelsine f apfelsinen
potato potatoes | it | thing food | kartoffel f kartoffeln
door doors | it | openable | tür f türen
window windows | it | openable | fenster n fenster
table tables | it | furniture | tisch m tische
chair chairs | it | furniture | stuhl m stühle
bed beds | it | furniture | bett n betten
cupboard cupboards | it | furniture | schrank m schränke
garden gardens | it | place | garten m gärten
house houses | it | place art | haus n häuser
town towns | it | place | stadt f städte
school schools | it | place | schule f schulen
kitchen kitchens | it | place | küche f küchen
forest forests | it | place | wald m wälder
church churches | it | place art | kirche f kirchen
village villages | it | place | dorf n dörfer
room rooms | it | place | zimmer n zimmer / raum m räume
museum museums | it | place | museum n museen
hotel hotels | it | place | hotel n hotels
park parks | it | place | park m parks
"""
# base, then 3rd person, past, participle where irregular, + tail | objects' case | subjects | objects | german:
# infinitive stem, stem of du and er where it changes (>), preterite, participle; particle before -; sein: auxiliary
_VERBS = """
see sees saw seen | acc | person animal | person animal thing place | seh>sieh sah gesehen
hear hears heard heard | acc | person animal | person animal sound | hör hörte gehört
find finds found found | acc | person animal | thing animal | find fand gefunden
buy buys bought bought | acc | person | thing animal | kauf kaufte gekauft
sell sells sold sold | acc | person | thing animal furniture | verkauf verkaufte verkauft
read reads read read | acc | person | text | les>lies las gelesen
write writes wrote written | acc | person | text | schreib schrieb geschrieben
eat eats ate eaten | acc | person animal | food | ess>iss aß gegessen
cook | acc | person | food | koch kochte gekocht
carry | acc | person animal | thing | trag>träg trug getragen
wear wears wore worn | acc | person | clothes | trag>träg trug getragen
love | acc | person | person animal | lieb liebte geliebt
visit | acc | person | person place | besuch besuchte besucht
know knows knew known | acc | person | person | kenn kannte gekannt
look +for | acc | person animal | person animal thing | such suchte gesucht
forget forgets forgot forgotten | acc | person | person thing | vergess>vergiss vergaß vergessen
open | acc | person | openable | öffn öffnete geöffnet / auf-mach machte aufgemacht
close | acc | person | openable | schließ schloss geschlossen / zu-mach machte zugemacht
call | acc | person | person | an-ruf rief angerufen
invite | acc | person | person | ein-lad>läd lud eingeladen
ask | acc | person | person | frag fragte gefragt
meet meets met met | acc | person | person | treff>triff traf getroffen
paint | acc | person | art animal | mal malte gemalt
draw draws drew drawn | acc | person | art animal | zeichn zeichnete gezeichnet
wash | acc | person | tool clothes | wasch>wäsch wusch gewaschen
use | acc | person | tool | benutz benutzte benutzt / verwend verwendete verwendet
receive | acc | person | text thing | bekomm bekam bekommen / krieg kriegte gekriegt
steal steals stole stolen | acc | person | thing animal | stehl>stiehl stahl gestohlen
sing sings sang sung | acc | person | sound | sing sang gesungen
lose loses lost lost | acc | person | tool clothes | verlier verlor verloren
help | dat | person | person animal | helf>hilf half geholfen
thank | dat | person | person | dank dankte gedankt
follow | dat | person animal | person animal | folg folgte gefolgt sein
answer | dat | person | person | antwort antwortete geantwortet
trust | dat | person | person animal | vertrau vertraute vertraut
belong +to | dat | thing furniture | person | gehör gehörte gehört
wait +for | auf+acc | person animal | person | wart wartete gewartet
think thinks thought thought +of | an+acc | person | person place | denk dachte gedacht
dream +of | von+dat | person | person animal place | träum träumte geträumt
play +with | mit+dat | person animal | person animal | spiel spielte gespielt
speak speaks spoke spoken +with | mit+dat | person | person | sprech>sprich sprach gesprochen / red redete geredet
laugh +about | über+acc | person | person text | lach lachte gelacht
sleep sleeps slept slept | none | person animal | | schlaf>schläf schlief geschlafen
work | none | person | | arbeit arbeitete gearbeitet
dance | none | person | | tanz tanzte getanzt
cry | none | person | | wein weinte geweint
swim swims swam swum | none | person animal | | schwimm schwamm geschwommen sein
stay | none | person animal | | bleib blieb geblieben sein
run runs ran run | none | person animal | | lauf>läuf lief gelaufen sein / renn rannte gerannt sein
live | place | person | | wohn wohnte gewohnt / leb lebte gelebt
go goes went gone | motion | person | | geh ging gegangen sein
drive drives drove driven | motion | person | | fahr>fähr fuhr gefahren sein
come comes came come | motion | person animal | | komm kam gekommen sein
lie lies lay lain | rest | thing animal | | lieg lag gelegen
stand stands stood stood | rest | thing person animal | | steh stand gestanden
put puts put put | put | person | thing | leg legte gelegt / stell stellte gestellt
give gives gave given | both | person | thing | geb>gib gab gegeben
show shows showed shown | both | person | thing art | zeig zeigte gezeigt
bring brings brought brought | both | person animal | thing | bring brachte gebracht
send sends sent sent | both | person | thing text | schick schickte geschickt / send sendete gesendet
know knows knew known | that | person | | wiss wusste gewusst
say says said said | that | person | | sag sagte gesagt
believe | that | person | | glaub glaubte geglaubt
hope | that | person | | hoff hoffte gehofft
think thinks thought thought | that | person | | denk dachte gedacht / mein meinte gemeint
"""
# word | classes | german, with the stem of inflected forms after > where it differs
_ADJECTIVES = """
big | person animal thing furniture place | groß
small | person animal thing furniture place | klein
old | person animal thing furniture place text | alt
young | person animal | jung
new | thing furniture place text | neu
beautiful | person animal thing place sound art | schön / hübsch
good | person animal text sound food | gut
bad | person text sound food | schlecht
red | thing furniture openable | rot
green | thing furniture openable | grün
black | animal clothes tool | schwarz
white | animal clothes openable | weiß
friendly | person animal | freundlich / nett
honest | person | ehrlich
tired | person animal | müde>müd
strong | person animal | stark / kräftig
quiet | person animal place | ruhig / leise>leis
rich | person | reich
poor | person | arm
clever | person animal | klug / schlau
heavy | tool furniture | schwer
cheap | tool clothes food furniture | billig / günstig
expensive | tool clothes food furniture | teuer>teur
dark | clothes place | dunkel>dunkl
empty | openable place | leer
happy | person | glücklich / froh
sick | person animal | krank
"""
# english | german | tenses
_TIMES = """
today | heute | present past future
yesterday | gestern | past
tomorrow | morgen | future
now | jetzt / nun | present
soon | bald / demnächst | future
every day | jeden tag / täglich | present past
in the evening | am abend / abends | present past future
in the morning | am morgen / morgens | present past future
at night | in der nacht / nachts | present past
last week | letzte woche | past
next year | nächstes jahr | future
on sunday | am sonntag | present past future
in summer | im sommer | present past
in winter | im winter | present past
"""
_FREQUENCIES = """
always | immer / stets | present past
often | oft / häufig | present past perfect
sometimes | manchmal | present past
seldom | selten | present past perfect
never | nie / niemals | present past perfect
"""

NOUNS = [noun(*row) for row in rows(_NOUNS)]
VERBS = [verb(*row) for row in rows(_VERBS)]
ADJECTIVES = [adjective(*row) for row in rows(_ADJECTIVES)]
TIMES = [adverb(*row) for row in rows(_TIMES)]
FREQUENCIES = [adverb(*row) for row in rows(_FREQUENCIES)]
