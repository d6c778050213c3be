// What images, registries and guests say, made harmless for a terminal.

/**
 * Control characters, surrogates without a partner, and the characters that change the direction of
 * text. Written one by one: other format characters are a part of emoji and of scripts.
 */
const HARMFUL = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u;
const RUNS = new RegExp(`${HARMFUL.source}+`, 'gu');
const EACH = new RegExp(HARMFUL.source, 'gu');
const EACH_BUT_LINES = new RegExp(`(?![\\n\\t])${HARMFUL.source}`, 'gu');
const EACH_BUT_LINE_ENDS = new RegExp(`(?![\\n\\t]|\\r\\n)${HARMFUL.source}`, 'gu');
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

/**
 * The text with its lines, which may end with a carriage return and a newline, and tabs: each
 * harmful character is an escape, `\x1b` or `\u202e`.
 */
export function escapedText(text: string): string {
  return text.replace(EACH_BUT_LINE_ENDS, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${hexadecimal(code, 2)}` : `\\u${hexadecimal(code, 4)}`;
  });
}

/** A value as JSON, with harmful characters escaped. */
export function printableJson(value: unknown, indent?: number): string {
  const code = (character: string) => `\\u${hexadecimal(character.charCodeAt(0), 4)}`;
  return JSON.stringify(value, null, indent).replace(RAW_IN_JSON, code);
}

function hexadecimal(number: number, digits: number): string {
  return number.toString(16).padStart(digits, '0');
}
