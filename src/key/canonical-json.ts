/** JSON with one spelling per content, for fingerprints. */

/** A recursion has to end somewhere, and always at the same depth: one body must not get two fingerprints. */
const MAX_DEPTH = 128;

const ATOM = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Words, and integers that do not end with a zero: these have one spelling. */
const SETTLED = /^(?:[tfn]|-?\d*[1-9]$)/;

/** In a literal: what may have a second spelling (escapes, surrogates) or is not allowed (controls). */
const NEEDS_DECODING = /[\\\u0000-\u001f\ud800-\udfff]/; // oxlint-disable-line no-control-regex

/**
 * Rewrites a JSON text so that the same content has the same text. Property order and white space do not
 * matter, nor how strings are escaped; array order and types do. Numbers compare as decimals of any length
 * (`1`, `1.0` and `10e-1` are one), not as doubles: two 20-digit amounts never become the same.
 * Properties with one name all stay, in their order: which of them counts is up to the handler's parser
 * (RFC 8259 section 4), so none may be dropped here.
 *
 * @throws {SyntaxError} where `JSON.parse` throws one.
 * @throws {RangeError} when arrays and objects nest deeper than 128.
 * @example
 * canonicalJson('{ "b": 1.50, "a": "\\u0041" }'); // {"a":"A","b":15e-1}
 */
export function canonicalJson(text: string): string {
  const reader = new Reader(text);
  const canonical = reader.value(0);
  reader.expect("");
  return canonical;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): string {
    if (this.#take("{")) return this.#object(deeper(depth));
    if (this.#take("[")) return this.#array(deeper(depth));
    return this.#take('"') ? this.#string() : this.#atom();
  }

  /** Steps over `char`, empty for the end, or throws. */
  expect(char: string): void {
    if (!this.#take(char)) throw new SyntaxError(`Not JSON at position ${this.#at}`);
  }

  #object(depth: number): string {
    const members: { name: string; value: string }[] = [];
    if (!this.#take("}")) {
      do {
        this.expect('"');
        const name = this.#string();
        this.expect(":");
        members.push({ name, value: this.value(depth) });
      } while (this.#take(","));
      this.expect("}");
    }
    // Sorting is stable, hence properties of one name keep their order.
    members.sort((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
    return `{${members.map((member) => `${member.name}:${member.value}`).join(",")}}`;
  }

  #array(depth: number): string {
    const items: string[] = [];
    if (!this.#take("]")) {
      do items.push(this.value(depth));
      while (this.#take(","));
      this.expect("]");
    }
    return `[${items.join(",")}]`;
  }

  /** The rest of a string, as the one literal for its characters. */
  #string(): string {
    const start = this.#at - 1;
    do {
      this.#at = this.#text.indexOf('"', this.#at) + 1;
      if (this.#at === 0) throw new SyntaxError(`Not JSON: no end of the string at ${start}`);
    } while (this.#isEscaped(this.#at - 1));
    const literal = this.#text.slice(start, this.#at);
    // JSON escapes lone surrogates, all of which UTF-8 would turn into the same character.
    return NEEDS_DECODING.test(literal) ? JSON.stringify(JSON.parse(literal)) : literal;
  }

  /** A quote after an odd number of backslashes is part of its string. */
  #isEscaped(quote: number): boolean {
    let first = quote;
    while (this.#text[first - 1] === "\\") first -= 1;
    return (quote - first) % 2 === 1;
  }

  #atom(): string {
    ATOM.lastIndex = this.#at;
    if (!ATOM.test(this.#text)) throw new SyntaxError(`Not JSON at position ${this.#at}`);
    const atom = this.#text.slice(this.#at, ATOM.lastIndex);
    this.#at = ATOM.lastIndex;
    return SETTLED.test(atom) ? atom : decimal(atom);
  }

  /** Whether `char` comes next, white space aside; if so, steps over it. */
  #take(char: string): boolean {
    let next = this.#text.charAt(this.#at);
    while (next === " " || next === "\n" || next === "\r" || next === "\t") {
      this.#at += 1;
      next = this.#text.charAt(this.#at);
    }
    if (next !== char) return false;
    this.#at += char.length;
    return true;
  }
}

function deeper(depth: number): number {
  if (depth === MAX_DEPTH) throw new RangeError(`JSON nests deeper than ${MAX_DEPTH}`);
  return depth + 1;
}

const PARTS = /^(-?)(\d+)\.?(\d*)(?:[eE](.+))?$/;

/** One text per value: digits that neither begin nor end with a zero, and a power of ten. */
function decimal(literal: string): string {
  const [, sign = "", whole = "", fraction = "", power = "0"] = PARTS.exec(literal) ?? [];
  // No handler could hold such a number, and a double could not count its power: it stays as it was spelled.
  if (power.length > 15) return literal;
  const digits = whole + fraction;
  let start = 0;
  while (digits[start] === "0") start += 1;
  // Minus zero is zero, as in RFC 8785 section 3.2.2.3.
  if (start === digits.length) return "0";
  // By hand: `/0+$/` would take quadratic time for zeros with something behind them.
  let end = digits.length;
  while (digits[end - 1] === "0") end -= 1;
  const exponent = Number(power) - fraction.length + digits.length - end;
  return `${sign}${digits.slice(start, end)}${exponent === 0 ? "" : `e${exponent}`}`;
}
