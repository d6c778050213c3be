// What all commands have in common: the global options, one line for a wrong word, and their exit code.
import { Command, CommanderError, Option } from 'commander';
import type { MachineClient, SupervisorProcess } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { type CliLog, createLog, FORMATS, LEVELS, type LogOptions } from '../output/log.js';

/** Processes that were started before the words were read, each for a command that takes it over. */
export interface EarlyProcesses {
  /** For a container in the foreground. */
  machine?: MachineClient | undefined;
  /** For one in the background. */
  supervisor?: SupervisorProcess | undefined;
}

export interface CommandEntry {
  readonly summary: string;
  /** Loads the command's file, which only the command that runs needs. */
  readonly load: () => Promise<{ command(context: Context): Command }>;
}

export interface CommandGroup {
  readonly summary: string;
  /** The commands that the group's words stand for, by their names in `CommandTable.commands`. */
  readonly commands: Readonly<Record<string, string>>;
}

export interface CommandTable {
  /** By name. Those of one word are listed; `network create` and its like are reached through their group alone. */
  readonly commands: Readonly<Record<string, CommandEntry>>;
  readonly groups: Readonly<Record<string, CommandGroup>>;
  /** Commands that are not listed. */
  readonly hidden: Readonly<Record<string, CommandEntry>>;
}

/** What a command gets from, and gives back to, the program around it. */
export interface Context {
  readonly version: string;
  readonly table: CommandTable;
  readonly early: EarlyProcesses;
  /** The global options, from before and after the command's name. */
  options: LogOptions;
  exitCode: number;
}

/** A command's parser, named as the user calls it: `tsvm run`. Errors are thrown, not printed. */
export function createCommand(name: string, context: Context): Command {
  const command = new Command(name)
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true });
  command
    .option('-q, --quiet', 'print errors only, without progress')
    .addOption(new Option('--log-level <level>', 'how much to log (default: warn)').choices(LEVELS))
    .addOption(new Option('--log-format <format>', 'format of the log (default: text)').choices(FORMATS));
  command.hook('preAction', () => {
    const { quiet, logLevel, logFormat } = command.opts();
    context.options = { ...context.options, ...defined({ quiet, logLevel, logFormat }) };
  });
  return command;
}

/** The log that the options ask for, once they are all known: in a command's action. */
export function openLog(context: Context): Promise<CliLog> {
  return createLog(context.options);
}

/**
 * Parses `args` and runs the command's action.
 * @throws UsageError for words the command does not know
 */
export async function parse(command: Command, args: readonly string[]): Promise<void> {
  try {
    await command.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return;
      throw new UsageError(error.message.replace(/^error: /, '').replace(/\s+/g, ' '), command.name());
    }
    if (error instanceof UsageError && error.command === undefined) throw new UsageError(error.message, command.name());
    throw error;
  }
}

/** For options that may be given more than once. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** The options that were given: those whose value is undefined have no key. */
export function defined<T extends object>(options: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}
