/** A wall clock that can be set: of this process only, as its machine's would be. Imported before anything reads it. */
const RealDate = Date;
const realNow = Date.now.bind(Date);
let offsetMs = 0;

class SkewedDate extends RealDate {
  constructor(...given: [] | ConstructorParameters<typeof Date>) {
    if (given.length === 0) super(SkewedDate.now());
    else super(...given);
  }

  static override now(): number {
    return realNow() + offsetMs;
  }
}

globalThis.Date = SkewedDate as unknown as DateConstructor;

export function skewDates(ms: number): void {
  offsetMs = ms;
}
