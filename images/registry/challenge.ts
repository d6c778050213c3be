// Parses the WWW-Authenticate header, by which a server asks for credentials (RFC 9110, 11.3 and
// 11.6.1).

export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  scheme: string;
  /** Names are in lower case. If a name occurs twice, the first one counts. */
  parameters: Map<string, string>;
}

const SEPARATORS = /[ \t,]*/y;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const EQUALS = /[ \t]*=[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const TOKEN68 = /[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * Parses the challenges of a header, which are separated by commas. Parsing stops at the first
 * syntax error.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(SEPARATORS);
    const word = take(TOKEN)?.[0].toLowerCase();
    if (word === undefined) return challenges;
    if (!take(EQUALS)) {
      challenges.push({ scheme: word, parameters: new Map() });
      take(TOKEN68);
      continue;
    }
    const value = take(QUOTED)?.[1]?.replace(/\\(.)/gs, '$1') ?? take(TOKEN)?.[0];
    const parameters = challenges.at(-1)?.parameters;
    if (value === undefined || !parameters) return challenges;
    if (!parameters.has(word)) parameters.set(word, value);
  }
}
