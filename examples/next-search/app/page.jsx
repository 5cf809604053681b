import { Search } from "./search";

/** A server component: it could read the passages from a database. */
export default function Page() {
  return (
    <Search passages={["Ships sail at night", "A loaf of rye bread", "The harbour is lit after dark"]} />
  );
}
