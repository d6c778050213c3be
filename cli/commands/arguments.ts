// Reads the words of a command line before commander does: which of them are options, and their
// values.
import { Command, type Option } from 'commander';

/** A command that tells whether the words after its first argument are left alone. */
export class CliCommand extends Command {
  passesThrough = false;

  override passThroughOptions(passThrough = true): this {
    this.passesThrough = passThrough;
    return super.passThroughOptions(passThrough);
  }
}

export interface OptionWord {
  option: Option;
  /** The word up to the option's name. */
  flags: string;
  /** The value, if it is in the same word: `--memory=1g`, `-m1g`, `-m=1g`. */
  value: string | undefined;
}

/**
 * The option that a word ends with: `--memory`, `-m`, or the `-m` of `-itm` and `-itm1g`. Undefined
 * for a word that is no known option.
 */
export function optionIn(command: Command, word: string): OptionWord | undefined {
  const [, long, longValue] = /^(--[^=]+)(?:=(.*))?$/s.exec(word) ?? [];
  if (long !== undefined) {
    const option = command.options.find((each) => each.long === long);
    return option && { option, flags: long, value: longValue };
  }
  if (!/^-[^-]/.test(word)) return undefined;
  for (let end = 2; end <= word.length; end++) {
    const option = command.options.find(({ short }) => short === `-${word[end - 1]}`);
    if (option === undefined) return undefined;
    const [flags, value] = [word.slice(0, end), word.slice(end)];
    if (option.required) return { option, flags, value: value === '' ? undefined : value.replace(/^=/, '') };
    if (value === '') return { option, flags, value: undefined };
  }
  return undefined;
}

/**
 * The words with `-m=1g` as `-m 1g`. commander would take the value for `=1g`; Docker's parser does
 * not.
 */
export function splitShortOptions(command: CliCommand, words: readonly string[]): string[] {
  const split: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    if (word === '--' || (command.passesThrough && !word.startsWith('-'))) return [...split, ...words.slice(index)];
    const { option, flags = '', value } = optionIn(command, word) ?? {};
    if (option?.required && value === undefined) split.push(word, ...words.slice(++index, index + 1));
    else if (word.startsWith(`${flags}=`) && !flags.startsWith('--')) split.push(flags, value ?? '');
    else split.push(word);
  }
  return split;
}
