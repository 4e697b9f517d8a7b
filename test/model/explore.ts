/** Explores the record protocol: `npm run model -- --attempts 2 --amnesia abstains --states 5000000`. */
import { parseArgs } from "node:util";
import { decideClaim, decideStore } from "../../stores/redlock/decisions.js";
import { explore } from "./explorer.js";
import { RecordModel, type ModelOptions } from "./record-model.js";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "3" },
    attempts: { type: "string", default: "2" },
    amnesia: { type: "string", default: "never" },
    states: { type: "string", default: "5000000" },
  },
});

for (const laterTokensFirst of [false, true]) {
  const startedAt = performance.now();
  const model = new RecordModel({
    nodes: Number(values.nodes),
    attempts: Number(values.attempts),
    amnesia: values.amnesia as ModelOptions["amnesia"],
    decisions: { decideClaim, decideStore },
    laterTokensFirst,
  });
  const { states, isExhaustive, wedged, violation } = explore(model, Number(values.states));
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  const order = laterTokensFirst ? "later tokens first" : "earlier tokens first";
  console.log(
    `${values.nodes} nodes, ${values.attempts} attempts, amnesia ${values.amnesia}, ${order}: ${states} states, ` +
      `${isExhaustive ? "all" : "not all"}, ${wedged} for an operator, ${seconds} s`,
  );
  if (violation !== undefined) {
    console.log(violation.map((line, at) => `  ${at}. ${line}`).join("\n"));
    process.exitCode = 1;
  }
}
