import { parentPort } from "node:worker_threads";
import { mishap } from "./mortal.mjs";

parentPort.on("message", mishap);
