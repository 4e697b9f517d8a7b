import { memoryStore } from "../../stores/memory.js";
import { lambdaSuite } from "./suite.js";

lambdaSuite("in memory", () => memoryStore());
