/** In Node. Listeners are called in the order in which they came. */

import "./mortal-node-listener.mjs";
import "gossamer-embed/node-worker";
