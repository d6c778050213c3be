// What all commands share: the context, the global options, and errors of usage in one line.
import { type Command, CommanderError, Help, Option } from 'commander';
import type { MachineClient, SupervisorProcess } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { type CliLog, createLog, FORMATS, LEVELS, type LogOptions } from '../output/log.js';
import { CliCommand, wordsForCommander } from './arguments.js';

/**
 * Processes that were spawned before the arguments were parsed. The command that needs one takes it
 * over.
 */
export interface EarlyProcesses {
  /** For a container in the foreground. */
  machine?: MachineClient | undefined;
  /** For one in the background. */
  supervisor?: SupervisorProcess | undefined;
}

export interface CommandEntry {
  readonly summary: string;
  /** Loads the file of the command. */
  readonly load: () => Promise<{ command(context: Context): Command }>;
}

export interface CommandGroup {
  readonly summary: string;
  /** The group's subcommands, each with the name of its entry in `CommandTable.commands`. */
  readonly commands: Readonly<Record<string, string>>;
}

export interface CommandTable {
  /**
   * By name. Help lists those of one word; others, such as `network create`, belong to their group.
   */
  readonly commands: Readonly<Record<string, CommandEntry>>;
  readonly groups: Readonly<Record<string, CommandGroup>>;
  /** Commands that help does not list. */
  readonly hidden: Readonly<Record<string, CommandEntry>>;
}

/** What the program passes to a command, and what the command returns. */
export interface Context {
  readonly version: string;
  readonly table: CommandTable;
  readonly early: EarlyProcesses;
  /** The global options, given before or after the command's name. */
  options: LogOptions;
  exitCode: number;
}

/**
 * The parser of a command. It throws errors and prints none.
 * @param name the full name of the command: `tsvm run`
 */
export function createCommand(name: string, context: Context): CliCommand {
  const command = new CliCommand(name)
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true, optionDescription });
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

/**
 * An option that may be repeated has no value unless it is given, which is no default worth a word.
 */
function optionDescription(this: Help, option: Option): string {
  const { defaultValue } = option;
  if (!Array.isArray(defaultValue) || defaultValue.length > 0)
    return Help.prototype.optionDescription.call(this, option);
  return option.description;
}

/**
 * Opens the log that the global options select. Call it in a command's action, when all options are
 * known.
 */
export function openLog(context: Context): Promise<CliLog> {
  return createLog(context.options);
}

/**
 * Parses `args` and runs the command's action.
 * @throws UsageError for unknown or missing options and arguments
 */
export async function parse(command: Command, args: readonly string[]): Promise<void> {
  try {
    const words = command instanceof CliCommand ? wordsForCommander(command, args) : args;
    await command.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return;
      throw new UsageError(error.message.replace(/^error: /, '').replace(/\s+/g, ' '), command.name());
    }
    if (error instanceof UsageError && error.command === undefined) throw new UsageError(error.message, command.name());
    throw error;
  }
}

/** commander's parser of an option that may be repeated: collects the values. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** The options without those whose value is undefined. */
export function defined<T extends object>(options: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}
