// Reads the words of a command line before commander does: which of them are options, and their
// values.
import { Command, type Option } from 'commander';
import { UsageError } from '../output/errors.js';

/** A command that tells whether the words after its first argument are left alone. */
export class CliCommand extends Command {
  passesThrough = false;
  /** The fields of options that a word such as `--rm=false` turned off, with their values then. */
  readonly turnedOff = new Map<string, unknown>();

  constructor(name?: string) {
    super(name);
    this.hook('preAction', () => {
      for (const [field, value] of this.turnedOff) this.setOptionValueWithSource(field, value, 'default');
    });
  }

  override passThroughOptions(passThrough = true): this {
    this.passesThrough = passThrough;
    return super.passThroughOptions(passThrough);
  }
}

export interface OptionWord {
  option: Option;
  /** The word up to the option's name. */
  flags: string;
  /** The value, if it is in the same word: `--memory=1g`, `-m1g`, `-m=1g`, `--rm=false`. */
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
    if (value.startsWith('=') && !option.optional) return { option, flags, value: value.slice(1) };
    if (value === '') return { option, flags, value: undefined };
  }
  return undefined;
}

/** The values of a flag in Docker's command line, which are those of Go's `strconv.ParseBool`. */
const TRUE = ['1', 't', 'T', 'true', 'TRUE', 'True'];
const FALSE = ['0', 'f', 'F', 'false', 'FALSE', 'False'];

/**
 * The words as commander understands them, where Docker's parser takes more: `-m=1g` is `-m 1g`, and
 * `--rm=true` is `--rm`. An option that its last word turned off, such as `--rm=false`, is in
 * `command.turnedOff`.
 *
 * @throws UsageError if the value of a flag is neither true nor false
 */
export function wordsForCommander(command: CliCommand, words: readonly string[]): string[] {
  const result: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    if (word === '--' || (command.passesThrough && !word.startsWith('-'))) return [...result, ...words.slice(index)];
    const { option, flags = '', value } = optionIn(command, word) ?? negatedIn(command, word) ?? {};
    if (option?.required) {
      if (value === undefined) result.push(word, ...words.slice(++index, index + 1));
      else if (word.startsWith(`${flags}=`) && !flags.startsWith('--')) result.push(flags, value);
      else result.push(word);
    } else if (option === undefined || option.optional) result.push(word);
    else result.push(...flagWords(command, option, flags, value));
  }
  return result;
}

/** The words of an option without a value of its own, such as `--rm` and `-it=false`. */
function flagWords(command: CliCommand, option: Option, flags: string, value: string | undefined): string[] {
  const field = option.attributeName();
  if (value === undefined || isTrue(flags, value)) {
    command.turnedOff.delete(field);
    return [flags];
  }
  command.turnedOff.set(field, option.negate ? true : undefined);
  // Those before it in the same word are turned on.
  const before = flags.startsWith('--') ? '' : flags.slice(0, -1);
  return before.length > 1 ? [before] : [];
}

/** `--sig-proxy=false`, for a command that has `--no-sig-proxy` alone. */
function negatedIn(command: Command, word: string): OptionWord | undefined {
  const [, name, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
  const option = name === undefined ? undefined : command.options.find(({ long }) => long === `--no-${name}`);
  if (option === undefined) return undefined;
  const isOn = value === undefined || isTrue(`--${name}`, value);
  return { option, flags: `--no-${name}`, value: isOn ? 'false' : undefined };
}

function isTrue(flag: string, value: string): boolean {
  if (TRUE.includes(value)) return true;
  if (FALSE.includes(value)) return false;
  throw new UsageError(`${flag} is ${JSON.stringify(value)}: use true or false`);
}
