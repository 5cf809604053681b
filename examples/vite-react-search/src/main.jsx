import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { passages } from "./passages.js";
import { Search } from "./search.jsx";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Search passages={passages} />
  </StrictMode>,
);
