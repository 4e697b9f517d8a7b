/** The requests per second of a run as one SVG: a bar for each subject, fresh above replay, with its spread. */
import type { Results } from "./results.js";
import type { Spread } from "./statistics.js";
import { GROUPS, type Group, type SubjectSpec } from "./subjects.js";
import { find, spreadOf } from "./targets.js";

const WIDTH = 760;
const LABEL_WIDTH = 230;
const BAR_WIDTH = WIDTH - LABEL_WIDTH - 90;
const BAR = 11;
const SUBJECT = 34;
const TITLE = 40;

/** Readable on a light page and on a dark one: nothing is drawn behind, and colours follow the reader's. */
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 13px }
  .figure { font-size: 11px; fill: #57606a }
  .spread { stroke: #24292f; stroke-width: 1 }
  .kit { fill: #0969da } .peer { fill: #bc4c00 } .floor { fill: #6e7781 } .bare { fill: #8c959f }
  .replay { opacity: 0.55 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .figure { fill: #9da7b3 } .spread { stroke: #e6edf3 }
    .kit { fill: #4493f8 } .peer { fill: #f0883e } .floor { fill: #9198a1 } .bare { fill: #6e7681 }
  }`;

export function chart(results: Results): string {
  const parts: string[] = [];
  let y = 20;
  parts.push(
    text(
      0,
      y,
      "Requests per second, bodies of 200 B. Solid: fresh. Pale: replay. Lines: least to greatest.",
      "figure",
    ),
  );
  for (const group of GROUPS) {
    const bars = barsOf(results, group);
    if (bars.length === 0) continue;
    y += TITLE;
    parts.push(text(0, y, group.title, "title"));
    const most = Math.max(...bars.flatMap(({ speeds }) => speeds.map(({ speed }) => speed.max)));
    for (const { spec, speeds } of bars) {
      y += 14;
      parts.push(text(0, y + BAR, spec.title, ""));
      for (const [at, { kind, speed }] of speeds.entries()) {
        parts.push(bar(y + at * (BAR + 1), speed, most, `${spec.role} ${kind}`));
      }
      y += SUBJECT - 14;
    }
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 20}" role="img" aria-label="Requests per second">`,
    `<style>${STYLE}</style>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

interface Bars {
  readonly spec: SubjectSpec;
  readonly speeds: readonly { readonly kind: string; readonly speed: Spread }[];
}

function barsOf(results: Results, group: Group): Bars[] {
  return group.subjects
    .map((spec) => ({
      spec,
      speeds: (["fresh", "replay"] as const).flatMap((kind) => {
        const row = find(results, [group.name, spec.name, kind]);
        const speed = spreadOf(row, ({ perSecond }) => perSecond);
        return speed === undefined ? [] : [{ kind, speed }];
      }),
    }))
    .filter(({ speeds }) => speeds.length > 0);
}

function bar(y: number, { median, min, max }: Spread, most: number, style: string): string {
  const x = (value: number): string => (LABEL_WIDTH + (value / most) * BAR_WIDTH).toFixed(1);
  const width = ((median / most) * BAR_WIDTH).toFixed(1);
  const middle = y + BAR / 2;
  return [
    `<rect class="${style}" x="${LABEL_WIDTH}" y="${y}" width="${width}" height="${BAR}"/>`,
    `<line class="spread" x1="${x(min)}" y1="${middle}" x2="${x(max)}" y2="${middle}"/>`,
    text(
      Number(x(Math.max(median, max))) + 6,
      y + BAR - 2,
      Math.round(median).toLocaleString("en"),
      "figure",
    ),
  ].join("\n");
}

function text(x: number, y: number, content: string, style: string): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}"${style === "" ? "" : ` class="${style}"`}>${escaped}</text>`;
}
