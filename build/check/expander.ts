// Expands the words of a Dockerfile, and notes which variables they name.
import { BuildError, type Place } from '../build-error.js';
import { ExpansionError, expandText, expandWord, expandWords, type Lookup } from '../dockerfile/expand.js';
import type { Escape } from '../dockerfile/words.js';
import { MAX_CHECKED } from '../limits.js';
import type { Expanded } from './subjects.js';

/** Each of its methods throws BuildError. */
export class Expander {
  readonly escapeToken: Escape;
  #left = MAX_CHECKED;

  constructor(escapeToken: Escape) {
    this.escapeToken = escapeToken;
  }

  word(word: string, lookup: Lookup, place: Place): Expanded {
    return this.#noted(lookup, (noted) => {
      try {
        return expandWord(word, noted, this.escapeToken);
      } catch (error) {
        throw unexpandable(error, `failed to process "${word}": `, place);
      }
    });
  }

  /** The contents of a heredoc. */
  text(text: string, lookup: Lookup, place: Place): Expanded {
    return this.#noted(lookup, (noted) => {
      try {
        return expandText(text, noted, this.escapeToken);
      } catch (error) {
        throw unexpandable(error, '', place);
      }
    });
  }

  words(word: string, lookup: Lookup, place: Place): string[] {
    try {
      const words = expandWords(word, lookup, this.escapeToken);
      this.#count(words.join(' ').length);
      return words;
    } catch (error) {
      throw unexpandable(error, `failed to process "${word}": `, place);
    }
  }

  #noted(lookup: Lookup, expand: (noted: Lookup) => string): Expanded {
    const matched = new Set<string>();
    const unmatched = new Set<string>();
    const text = expand((name) => {
      const value = lookup(name);
      (value === undefined ? unmatched : matched).add(name);
      return value;
    });
    this.#count(text.length);
    return { text, matched, unmatched };
  }

  #count(length: number): void {
    this.#left -= length;
    if (this.#left < 0) {
      throw new BuildError('too-large', `the words of the Dockerfile expand to more than ${MAX_CHECKED} characters`);
    }
  }
}

function unexpandable(error: unknown, doing: string, place: Place): unknown {
  if (!(error instanceof ExpansionError)) return error;
  return new BuildError('bad-dockerfile', `${doing}${error.message}`, { place, cause: error });
}
