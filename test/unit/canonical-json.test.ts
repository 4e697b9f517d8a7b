import { isDeepStrictEqual } from "node:util";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/key/canonical-json.js";

/** A small generator of numbers below `n`, so that one seed makes one spelling. */
type Pick = (n: number) => number;

function picker(seed: number): Pick {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** The same JSON content in another spelling: order, white space, escapes, numbers. */
function respell(value: unknown, pick: Pick): string {
  const space = (): string => " \n\r\t".repeat(pick(2)).slice(0, pick(4));
  const around = (text: string): string => space() + text + space();
  if (typeof value === "string") return around(respellString(value, pick));
  if (typeof value === "number") return around(respellNumber(JSON.stringify(value), pick));
  if (typeof value !== "object" || value === null) return around(JSON.stringify(value));
  if (Array.isArray(value))
    return around(`[${value.map((item) => respell(item, pick)).join(",")}]`);
  const members = Object.entries(value)
    .map((member) => ({ member, rank: pick(1_000) }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(
      ({ member: [name, item] }) =>
        `${space()}${respellString(name, pick)}${space()}:${respell(item, pick)}`,
    );
  return around(`{${members.join(",") || space()}}`);
}

function respellString(text: string, pick: Pick): string {
  const units = Array.from({ length: text.length }, (_, at) => text.charAt(at));
  const escape = (unit: string): string => {
    if (unit === "/" && pick(2) === 0) return "\\/";
    if (pick(3) > 0) return JSON.stringify(unit).slice(1, -1);
    return `\\u${pick(2) === 0 ? hex(unit) : hex(unit).toUpperCase()}`;
  };
  return `"${units.map(escape).join("")}"`;
}

function hex(unit: string): string {
  return unit.charCodeAt(0).toString(16).padStart(4, "0");
}

function respellNumber(literal: string, pick: Pick): string {
  const [, sign = "", whole = "", fraction = "", power = "0"] =
    /^(-?)(\d+)\.?(\d*)(?:e(.+))?$/.exec(literal) ?? [];
  const zeros = "0".repeat(pick(3));
  const shift = pick(4) - 2;
  const exponent = Number(power) - Math.max(shift, shift < 0 ? fraction.length + zeros.length : 0);
  const all = `${whole}${fraction}${zeros}`;
  if (shift < 0) return `${sign}${unpadded(all)}e${exponent}`;
  // The point moves to the right, past zeros if need be.
  const digits = all + "0".repeat(shift + 1);
  const point = whole.length + shift;
  const plus = exponent >= 0 && pick(2) === 0 ? "+" : "";
  return `${sign}${unpadded(digits.slice(0, point))}.${digits.slice(point)}${["e", "E"][pick(2)]}${plus}${exponent}`;
}

function unpadded(digits: string): string {
  return digits.replace(/^0+(?=.)/, "");
}

/** How many texts these numbers have. */
function same(...literals: string[]): number {
  return new Set(literals.map((literal) => canonicalJson(`[${literal}]`))).size;
}

function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

function valid(text: string, parse: (text: string) => unknown): boolean {
  try {
    parse(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

interface Decimal {
  readonly minus: boolean;
  readonly digits: string;
  readonly point: number;
  readonly power: number;
}

/** A literal, and its exact value in units of 10^-60. */
function spell({ minus, digits, point, power }: Decimal): { literal: string; scaled: bigint } {
  const fraction = digits.slice(point);
  const whole = unpadded(digits.slice(0, point)) || "0";
  const literal = `${minus ? "-" : ""}${whole}${fraction && `.${fraction}`}e${power}`;
  const scaled = BigInt(digits) * 10n ** BigInt(60 + power - fraction.length);
  return { literal, scaled: minus ? -scaled : scaled };
}

/** JSON itself has no minus zero to give back. */
const json = fc.jsonValue().map((value): unknown => JSON.parse(JSON.stringify(value)));
const seed = fc.nat({ max: 2 ** 31 });

describe("the canonical text", () => {
  test("C35: property order and white space do not matter", () => {
    const texts = ['{"a":1,"b":[true,null]}', ' {\n\t"b" : [ true , null ],\r "a":1 } '];
    expect(new Set(texts.map((text) => canonicalJson(text)))).toEqual(
      new Set(['{"a":1,"b":[true,null]}']),
    );
    expect(canonicalJson('{"b":{"d":1,"c":2},"a":{}}')).toBe('{"a":{},"b":{"c":2,"d":1}}');
  });

  test("C35: array order, types and nesting do", () => {
    const texts = [
      "1",
      '"1"',
      "[1]",
      '{"1":1}',
      "[1,2]",
      "[2,1]",
      "[[1],2]",
      "[[1,2]]",
      "null",
      '"null"',
      "true",
    ];
    texts.push(
      "false",
      '""',
      "[]",
      "{}",
      "[null]",
      '{"a":null}',
      "[[]]",
      "[{}]",
      '["1,2"]',
      '["1","2"]',
      "0",
    );
    expect(new Set(texts.map((text) => canonicalJson(text))).size).toBe(texts.length);
  });

  test("C35: the same content has the same text, however it is spelled", () => {
    fc.assert(
      fc.property(json, seed, seed, (value, one, two) => {
        const spelled = respell(value, picker(one));
        expect(isDeepStrictEqual(JSON.parse(spelled), value)).toBe(true);
        expect(canonicalJson(spelled)).toBe(canonicalJson(respell(value, picker(two))));
        expect(canonicalJson(JSON.stringify(value, null, 2))).toBe(canonicalJson(spelled));
      }),
      { numRuns: 1_000 },
    );
  });

  test("C35: another content has another text, and a text holds its content", () => {
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        tie("leaf"),
        fc.array(tie("tree"), { maxLength: 3 }),
        tie("object"),
      ),
      object: fc.dictionary(fc.constantFrom("a", "b", '","', "__proto__"), tie("tree"), {
        maxKeys: 3,
      }),
      leaf: fc.constantFrom<unknown>(
        null,
        true,
        0,
        1,
        10,
        1.5,
        -1,
        "",
        "0",
        "1",
        "null",
        '"',
        ",",
        "a",
      ),
    }));
    fc.assert(
      fc.property(tree, tree, (a, b) => {
        const [textA, textB] = [canonicalJson(JSON.stringify(a)), canonicalJson(JSON.stringify(b))];
        expect(textA === textB).toBe(
          isDeepStrictEqual(JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b))),
        );
        expect(isDeepStrictEqual(JSON.parse(textA), JSON.parse(JSON.stringify(a)))).toBe(true);
        expect(canonicalJson(textA)).toBe(textA);
      }),
      { numRuns: 3_000 },
    );
  });

  test("C39: names that objects inherit are names like any other", () => {
    const texts = [
      '{"__proto__":1}',
      '{"__proto__":{"a":1}}',
      "{}",
      '{"constructor":1}',
      '{"toString":1}',
      '{"":1}',
    ];
    expect(new Set(texts.map((text) => canonicalJson(text))).size).toBe(texts.length);
    expect(canonicalJson('{"2":0,"10":0,"a":0}')).toBe(canonicalJson('{"a":0,"10":0,"2":0}'));
  });

  test("a repeated name stays: which of its values counts is up to the handler's parser", () => {
    const texts = ['{"a":1}', '{"a":2}', '{"a":1,"a":2}', '{"a":2,"a":1}', '{"a":1,"a":1}'];
    expect(new Set(texts.map((text) => canonicalJson(text))).size).toBe(texts.length);
    expect(canonicalJson('{"a":2,"b":0,"\\u0061":1}')).toBe(canonicalJson('{"b":0,"a":2,"a":1}'));
  });
});

describe("numbers", () => {
  test("C35: one decimal value has one text", () => {
    expect(same("1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000000000000000000000", "1E-0")).toBe(1);
    expect(same("0", "-0", "0.0", "0e9", "-0.000E-7")).toBe(1);
    expect(same("1e400", "10e399", "0.01e402")).toBe(1);
    expect(same("-12.50", "-1250e-2", "-12.5")).toBe(1);
  });

  test("money: amounts that a double cannot tell apart are apart", () => {
    expect(Number("12345678901234567890")).toBe(Number("12345678901234567891"));
    expect(same("12345678901234567890", "12345678901234567891")).toBe(2);
    expect(same("9007199254740992", "9007199254740993", "9007199254740992.1")).toBe(3);
    expect(same("0.1", "0.1000000000000000055511151231257827", "0.10000000000000001")).toBe(3);
    expect(same("1e400", "1e401", "-1e400", "1e-400", "2e-400", "0")).toBe(6);
    expect(same("1", "-1", "10", "100", "1e-1", "11", "101")).toBe(7);
  });

  test("powers that no double can count stay as they were spelled", () => {
    expect(
      same("1e99999999999999999999", "1e99999999999999999998", "1e-99999999999999999999"),
    ).toBe(3);
    expect(same("1e9007199254740992", "1e9007199254740993")).toBe(2);
  });

  test("two numbers have one text exactly if they are the same decimal", () => {
    const digits = fc.string({
      unit: fc.constantFrom("0", "0", "1", "9"),
      minLength: 1,
      maxLength: 25,
    });
    const power = fc.integer({ min: -30, max: 30 });
    const number = fc.record({ minus: fc.boolean(), digits, point: fc.nat({ max: 24 }), power });
    // The same value with its point moved to the right, or ten times that.
    const near = fc
      .tuple(number, fc.nat({ max: 3 }), fc.constantFrom(0, 0, 1))
      .map(([one, zeros, more]): [Decimal, Decimal] => [
        { ...one, point: Math.min(one.point, one.digits.length) },
        {
          minus: one.minus,
          digits: one.digits + "0".repeat(zeros),
          point: Math.min(one.point, one.digits.length) + zeros,
          power: one.power - zeros + more,
        },
      ]);
    fc.assert(
      fc.property(fc.oneof(near, fc.tuple(number, number)), (pair) => {
        const [a, b] = [spell(pair[0]), spell(pair[1])];
        expect(same(a.literal, b.literal)).toBe(a.scaled === b.scaled ? 1 : 2);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("strings", () => {
  test("C35: they compare by content, not by their escapes", () => {
    const spellings = [
      String.raw`"\u0061\/\n\u00e9"`,
      String.raw`"a/\u000aé"`,
      String.raw`"\u0061/\n\u00E9"`,
    ];
    expect(new Set(spellings.map((text) => canonicalJson(text))).size).toBe(1);
    expect(canonicalJson('"😀"')).toBe(canonicalJson(String.raw`"\ud83d\uDE00"`));
    expect(canonicalJson(String.raw`"\\u0061"`)).not.toBe(canonicalJson(String.raw`"\u0061"`));
  });

  test("they are not normalised: a composed and a combined letter are two contents", () => {
    expect(canonicalJson('"\u00e9"')).not.toBe(canonicalJson('"e\u0301"'));
  });

  test("lone surrogates stay apart, also in UTF-8", () => {
    const raw = [
      "\ud800",
      "\ud801",
      "\udc00",
      "\ufffd",
      "\\\\ud800",
      "\ud83d\ud83d",
      "\ud83d\ude00",
    ];
    const texts = raw.map((text) => canonicalJson(`{"${text}":"${text}"}`));
    expect(new Set(texts.map((text) => Buffer.from(text).toString("hex"))).size).toBe(raw.length);
    expect(canonicalJson('"\ud800"')).toBe(canonicalJson(String.raw`"\uD800"`));
  });

  test("quotes and backslashes end a string where JSON does", () => {
    for (const content of ["\\", '"', '\\"', '"\\', "\\\\", '\\\\"', '",', '":']) {
      const text = JSON.stringify({ [content]: [content, content] });
      expect(canonicalJson(text)).toBe(text);
    }
  });
});

describe("what is not JSON", () => {
  test("it throws a SyntaxError exactly where JSON.parse does", () => {
    const bad = [
      "",
      " ",
      "{",
      "}",
      "[1,]",
      "[,1]",
      '{"a":1,}',
      "{a:1}",
      "{1:2}",
      '{"a"}',
      '{"a":}',
      '{"a" 1}',
      "[1 2]",
    ];
    bad.push(
      "01",
      "1.",
      ".5",
      "+1",
      "-",
      "--1",
      "1e",
      "1e+",
      "0x1",
      "NaN",
      "Infinity",
      "tru",
      "truee",
      "nul",
      "True",
    );
    bad.push(
      '"',
      '"\\"',
      '"\\x"',
      '"\\u12"',
      '"\n"',
      '"\u0000"',
      "'a'",
      "[1]]",
      "{}{}",
      "1 1",
      "\ufeff1",
      "\u00a01",
      "1\v",
    );
    expect(bad.filter((text) => valid(text, canonicalJson))).toEqual([]);
    const splice = fc.constantFrom(
      ...Array.from('{}[]",:\\0e-.+ \u0001\u00a0tfn1/u'),
      "",
      "true",
      '"a":',
      "\\u0",
      "\ud800",
    );
    const near = fc
      .tuple(json, seed, fc.nat(), fc.nat({ max: 3 }), splice)
      .map(([value, one, at, drop, insert]) => {
        const text = respell(value, picker(one));
        const place = at % (text.length + 1);
        return text.slice(0, place) + insert + text.slice(place + drop);
      });
    fc.assert(
      fc.property(near, (text) => {
        expect(valid(text, canonicalJson)).toBe(valid(text, JSON.parse));
      }),
      { numRuns: 5_000 },
    );
  });

  test("P9: an error does not repeat the body", () => {
    for (const text of ['{"a": SECRET}', '"SECRET', "[SECRET", '{"SECRET" 1}', '{"a":1}SECRET']) {
      expect(() => canonicalJson(text)).toThrow(/^(?!.*SECRET)/);
    }
    expect(() => canonicalJson("[1,x]")).toThrow("Not JSON at position 3");
  });
});

describe("P7: limits", () => {
  test("128 levels are read, 129 and 100,000 are refused, whatever the stack has left", () => {
    expect(canonicalJson(nested(128))).toBe(nested(128));
    expect(() => canonicalJson(nested(129))).toThrow(/deeper than 128/);
    expect(() => canonicalJson(nested(100_000))).toThrow(/deeper than 128/);
    expect(() => canonicalJson("[".repeat(100_000))).toThrow(RangeError);
    expect(() => canonicalJson('{"a":'.repeat(100_000))).toThrow(RangeError);
    expect(canonicalJson(`[${Array.from({ length: 500 }, () => "[[]]").join(",")}]`)).toHaveLength(
      2_501,
    );
  });

  test("a mebibyte of anything takes linear time", () => {
    const n = 2 ** 20;
    const texts = [
      `[${"12.50,".repeat(n / 6)}1]`,
      `[${'"\\n",'.repeat(n / 5)}1]`,
      `{${'"":1,'.repeat(n / 5)}"":2}`,
      `{${Array.from({ length: n / 16 }, (_, i) => `"${i % 7}k${n - i}":1`).join(",")}}`,
      `1${"0".repeat(n)}1`,
      `0.${"0".repeat(n)}1`,
      `1e${"0".repeat(n)}`,
      `"${String.raw`\\`.repeat(n / 2)}"`,
      `"${String.raw`\"`.repeat(n / 2)}"`,
      `${"[".repeat(120)}"${"x".repeat(n)}"${"]".repeat(120)}`,
      `${" ".repeat(n)}1`,
    ];
    const slow = texts.filter((text) => {
      const before = performance.now();
      canonicalJson(text);
      return performance.now() - before > 1_000;
    });
    expect(slow.map((text) => text.slice(0, 20))).toEqual([]);
  });
});
