// What images, registries and guests say, made harmless for a terminal.

/**
 * Control characters, surrogates without a partner, and the characters that change the direction of
 * text. Written one by one: other format characters are a part of emoji and of scripts.
 */
const HARMFUL = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u;
const RUNS = new RegExp(`${HARMFUL.source}+`, 'gu');
const EACH = new RegExp(HARMFUL.source, 'gu');
const EACH_BUT_LINES = new RegExp(`(?![\\n\\t])${HARMFUL.source}`, 'gu');
/** JSON.stringify escapes the others. */
const RAW_IN_JSON = new RegExp(`(?![\\0-\\x1f])${HARMFUL.source}`, 'gu');

/** The text in one line: each run of harmful characters is a space. */
export function printableLine(text: string): string {
  return text.replace(RUNS, ' ');
}

/** A name: each harmful character is a question mark. */
export function printableName(text: string): string {
  return text.replace(EACH, '?');
}

/** The text with its lines and tabs: each harmful character is a question mark. */
export function printableText(text: string): string {
  return text.replace(EACH_BUT_LINES, '?');
}

/** A value as JSON, with harmful characters escaped. */
export function printableJson(value: unknown, indent?: number): string {
  const code = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value, null, indent).replace(RAW_IN_JSON, code);
}
