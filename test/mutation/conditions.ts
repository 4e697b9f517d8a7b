/**
 * The mistakes that can be made with the conditions of a TypeScript file: each is removed (its part of a conjunction or
 * disjunction is gone), or always true, or always false, and each bound is one off.
 *
 * An inverted condition is not among them: whatever test tells a condition from `true` or from `false` tells it from
 * its inversion, too. For the same reason a conjunction is not replaced by `true`: it is already told from each of its parts.
 */
import { parseAst } from "vitest/node";
import { mutantOf, told, type Change, type Mutant } from "./mutant.js";

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

/** Of ESTree, what is looked at here. */
interface Condition extends Node {
  readonly operator: string;
  readonly left: Condition;
  readonly right: Condition;
  readonly argument: Condition;
  readonly test: Condition | null;
  readonly value: unknown;
  readonly callee: Condition;
  readonly arguments: readonly Node[];
  readonly object: Condition;
  readonly property: { readonly name?: string } & Node;
}

/** A bound, and the same one off. */
const BESIDE: Readonly<Record<string, string>> = { "<": "<=", "<=": "<", ">": ">=", ">=": ">" };
const COMPARISONS = new Set([...Object.keys(BESIDE), "===", "!==", "in", "instanceof"]);
const LOOPS = new Set(["WhileStatement", "DoWhileStatement", "ForStatement"]);
const QUANTIFIERS: Readonly<Record<string, string>> = { some: "every", every: "some" };
/** The parts of the type language that hold an expression. */
const TYPED = new Set(["TSAsExpression", "TSNonNullExpression", "TSSatisfiesExpression"]);

export function conditionMutants(file: string, source: string): Mutant[] {
  const changes = [...changesIn(parseAst(source, { lang: "ts" }), source, false)];
  return told(changes.map((change) => mutantOf(file, source, change)));
}

/** @param isTold Whether a constant in place of this expression is among the changes already. */
function* changesIn(node: Node, source: string, isTold: boolean): Iterable<Change> {
  if (node.type.startsWith("TS") && !TYPED.has(node.type)) return;
  const it = node as Condition;
  yield* ownChanges(it, source, isTold);
  for (const child of childrenOf(node)) {
    yield* changesIn(child, source, isCondition(it, child));
  }
}

function* ownChanges(node: Condition, source: string, isTold: boolean): Iterable<Change> {
  const { type, operator, test } = node;
  if (type === "IfStatement" || type === "ConditionalExpression") yield* decided(test);
  else if (LOOPS.has(type) && test !== null) yield { ...spanOf(test), replacement: "false" };
  else if (isLogical(node)) {
    if (!isTold) yield { ...spanOf(node), replacement: absorbing(node) };
    for (const part of [node.left, node.right]) {
      yield { ...spanOf(node), replacement: source.slice(part.start, part.end) };
    }
  } else if (type === "BinaryExpression" && COMPARISONS.has(operator)) {
    if (!isTold) yield* decided(node);
    yield* besides(node, source);
  } else if (type === "UnaryExpression" && operator === "!") {
    if (!isTold) yield* decided(node);
  } else if (type === "Literal" && typeof node.value === "boolean") {
    yield { ...spanOf(node), replacement: String(!node.value) };
  } else if (type === "CallExpression" && node.callee.type === "MemberExpression") {
    yield* otherCall(node);
  }
}

/** Always true, always false. */
function* decided(test: Condition | null): Iterable<Change> {
  if (test === null) return;
  for (const constant of isLogical(test) ? [absorbing(test)] : ["true", "false"]) {
    yield { ...spanOf(test), replacement: constant };
  }
}

function* besides({ left, right, operator }: Condition, source: string): Iterable<Change> {
  const beside = BESIDE[operator];
  // No length is below 0: that bound, one off, would be a constant, which is told already.
  const isEmptiness = source.slice(left.start, right.end).endsWith(".length > 0");
  if (beside === undefined || isEmptiness) return;
  const from = left.end + source.slice(left.end, right.start).indexOf(operator);
  yield { from, to: from + operator.length, replacement: beside };
}

/** All instead of any, any instead of all, everything instead of what passes a filter that has no condition of its own. */
function* otherCall(call: Condition): Iterable<Change> {
  const { object, property } = call.callee;
  const name = property.name ?? "";
  const other = QUANTIFIERS[name];
  if (other !== undefined) yield { ...spanOf(property), replacement: other };
  const isNamed = call.arguments[0]?.type !== "ArrowFunctionExpression";
  if (name === "filter" && isNamed) yield { from: object.end, to: call.end, replacement: "" };
}

function isLogical({ type, operator }: Condition): boolean {
  return type === "LogicalExpression" && operator !== "??";
}

function absorbing({ operator }: Condition): string {
  return operator === "&&" ? "false" : "true";
}

/** Whether the parent decides by the child, and by nothing else of it. */
function isCondition(parent: Condition, child: Node): boolean {
  if (parent.test === child) return true;
  return isLogical(parent) || (parent.type === "UnaryExpression" && parent.operator === "!");
}

function* childrenOf(node: Node): Iterable<Node> {
  for (const value of Object.values(node).flat()) if (isNode(value)) yield value;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

function spanOf({ start, end }: Node): { readonly from: number; readonly to: number } {
  return { from: start, to: end };
}
