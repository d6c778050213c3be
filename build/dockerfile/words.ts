// Words of an instruction, with their quotes: split, and without quotes.

export type Escape = '\\' | '`';
export const ESCAPES: readonly Escape[] = ['\\', '`'];

/** Splits at spaces outside of quotes. Quotes and escapes stay in the words. */
export function splitWords(text: string, escapeToken: Escape): string[] {
  return wordsAt(text, escapeToken).map(({ word }) => word);
}

/** As `splitWords`, with the index at which each word begins. */
export function wordsAt(text: string, escapeToken: Escape): { word: string; at: number }[] {
  const words: { word: string; at: number }[] = [];
  let start = -1;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (quote === '' && /\s/.test(character)) {
      if (start >= 0) words.push({ word: text.slice(start, at), at: start });
      start = -1;
      continue;
    }
    if (start < 0) start = at;
    if (character === escapeToken && quote !== "'") at++;
    else if (character === quote) quote = '';
    else if (quote === '' && (character === '"' || character === "'")) quote = character;
  }
  if (start >= 0) words.push({ word: text.slice(start), at: start });
  return words;
}

/** Removes quotes and escapes. */
export function removeQuotes(word: string, escapeToken: Escape): string {
  let plain = '';
  let quote = '';
  for (let at = 0; at < word.length; at++) {
    const character = word.charAt(at);
    if (character === escapeToken && quote !== "'") plain += word.charAt(++at);
    else if (character === quote) quote = '';
    else if (quote === '' && (character === '"' || character === "'")) quote = character;
    else plain += character;
  }
  return plain;
}
