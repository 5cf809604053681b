/** What is searched. Outside of the components, so that it is the same array in every render. */
export const passages = [
  "Ships sail at night",
  "A loaf of rye bread",
  "The harbour is lit after dark",
  "Trains cross the river on an iron bridge",
  "The orchestra tunes its instruments",
];
