// Finds the command that a command line names.
import type { CommandEntry, CommandTable } from './command.js';

export interface FoundCommand {
  /** Its name in the table: `images` for `tsvm image ls`. */
  readonly name: string;
  readonly entry: CommandEntry;
  /** The arguments after the command's name. */
  readonly args: readonly string[];
}

/** The value of an own key of a record; undefined if there is no such key. */
export function own<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** The command that the words name, directly or through its group; undefined if there is none. */
export function findCommand(table: CommandTable, words: readonly string[]): FoundCommand | undefined {
  const [first = '', second = ''] = words;
  const group = own(table.groups, first);
  const name = group === undefined ? first : own(group.commands, second);
  if (name === undefined || (group === undefined && name.includes(' '))) return undefined;
  const entry = own(table.commands, name) ?? own(table.hidden, name);
  return entry === undefined ? undefined : { name, entry, args: words.slice(group === undefined ? 1 : 2) };
}

/** The names of the commands that help lists. */
export function listedCommands({ commands }: CommandTable): string[] {
  return Object.keys(commands).filter((name) => !name.includes(' '));
}
