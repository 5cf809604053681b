/** Reproducible English sentences on many subjects, for searches and for speed. */

const PEOPLE =
  "a nurse|two engineers|the mayor|my grandmother|a young violinist|the night guard|an astronomer|the baker|three students|a retired pilot|the goalkeeper|a beekeeper|the tax adviser|a deep-sea diver|the carpenter|a poet|the train driver|a chemist|the gardener|a software team|the lighthouse keeper|an archaeologist|the referee|a shepherd|the dentist".split(
    "|",
  );
const DEEDS =
  "repaired the broken pump|wrote a letter to the council|measured the light of a distant star|sold warm bread at dawn|lost the keys to the archive|learned a piece by heart|found a coin from Roman times|cancelled the flight to Lisbon|planted forty apple trees|deployed a new version on Friday|translated the contract into Danish|crossed the glacier on skis|drew a map of the harbour|treated a patient with fever|argued about the price of wool|painted the kitchen green|counted the votes twice|missed the last penalty|filed the annual report|tuned the old piano|mixed two acids with great care|walked the dog through the fog|read a novel about whales|installed solar panels|taught the class about volcanoes|caught a trout under the bridge|signed the lease of the shop|compared the two vaccines|rescued a cat from the roof|watched the eclipse from a hill|invested the savings in copper|baked a cake with too much salt|rebuilt the engine of the ferry|denied every accusation in court|dug a well behind the school|photographed the storm|closed the border for a day|won the chess tournament|slept through the alarm|recorded the song of the thrush".split(
    "|",
  );
const ENDS =
  "|before the rain came|although nobody had asked|in the winter of 1987|with help from the neighbours|and was proud of it|while the radio played|for less than ten euros|on the advice of a friend|because the law required it|without saying a word|after a long argument".split(
    "|",
  );

/** The first `count`, all different. */
export function sentences(count) {
  // Every person with every deed in turn; the next forty deeds begin one further.
  return Array.from({ length: count }, (_, i) => {
    const person = PEOPLE[i % PEOPLE.length];
    const deed = DEEDS[(i + Math.floor(i / (PEOPLE.length * 8))) % DEEDS.length];
    const end = ENDS[(i * 5 + Math.floor(i / 40)) % ENDS.length];
    const text = `${person} ${deed}${end && " "}${end}.`;
    return text[0].toUpperCase() + text.slice(1);
  });
}
