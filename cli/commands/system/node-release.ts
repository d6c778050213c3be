// Whether a release line of Node.js still gets security updates.

/**
 * The lines that tsvm runs on: when each ends, and from when it is the one to install (LTS). From
 * schedule.json of github.com/nodejs/Release, 2026-07-02.
 */
const LINES: Record<number, { end: string; lts?: string }> = {
  20: { end: '2026-04-30', lts: '2023-10-24' },
  21: { end: '2024-06-01' },
  22: { end: '2027-04-30', lts: '2024-10-29' },
  23: { end: '2025-06-01' },
  24: { end: '2028-04-30', lts: '2025-10-28' },
  25: { end: '2026-06-01' },
  26: { end: '2029-04-30', lts: '2026-10-28' },
};

export interface NodeRelease {
  /** In one line. */
  found: string;
  /** What to do about it. Undefined if nothing is known against it: a line that is newer than tsvm is not judged. */
  advice?: string;
}

/** @param version as `process.version` has it */
export function nodeRelease(version: string, today: Date): NodeRelease {
  const date = today.toISOString().slice(0, 10);
  const major = Number(/^v(\d+)\./.exec(version)?.[1]);
  const line = LINES[major];
  if (line === undefined) return { found: `Node.js ${version}, a line that this tsvm does not know` };
  if (date <= line.end) return { found: `Node.js ${version}, supported until ${line.end}` };
  return {
    found: `Node.js ${version} gets no security updates since ${line.end}`,
    advice: `install ${newest(date)}: https://nodejs.org`,
  };
}

/** The newest line with long-term support on a date. */
function newest(date: string): string {
  const supported = Object.entries(LINES).filter(([, { end, lts }]) => lts !== undefined && lts <= date && date <= end);
  const major = supported.at(-1)?.[0];
  return major === undefined ? 'the newest Node.js with long-term support' : `Node.js ${major}`;
}
