// Runs a command line: finds the command, runs it, and reports its failure.
import type { Command } from 'commander';
import { COMMAND_TABLE } from './command-table.js';
import {
  type CommandGroup,
  type Context,
  createCommand,
  type EarlyProcesses,
  openLog,
  parse,
} from './commands/command.js';
import { findCommand, listedCommands, own } from './commands/lookup.js';
import { describeError, exitCode, UsageError } from './output/errors.js';
import { suggest } from './suggestion.js';

/** Runs a command line. Resolves to its exit code. */
export async function runCommandLine(argv: readonly string[], version: string, early: EarlyProcesses): Promise<number> {
  const context: Context = { version, early, table: COMMAND_TABLE, options: {}, exitCode: 0 };
  try {
    await parse(programCommand(context), argv);
  } catch (error) {
    context.exitCode = exitCode(error);
    await report(error, context);
  }
  return context.exitCode;
}

function programCommand(context: Context): Command {
  const { table, version } = context;
  const summaries = listedCommands(table).map((name) => [name, table.commands[name]?.summary ?? ''] as const);
  const groups = Object.entries(table.groups).map(([name, { summary }]) => [name, summary] as const);
  const program = createCommand('tsvm', context)
    .description('Runs container images, each in its own virtual machine.')
    .usage('[options] COMMAND')
    .version(`tsvm ${version}`, '-v, --version', 'print the version')
    .enablePositionalOptions()
    .argument('[command...]')
    .passThroughOptions()
    .addHelpText('after', `\n${summaryList('Commands', summaries)}\n\n${summaryList('Management Commands', groups)}`)
    .addHelpText('after', "\nSee 'tsvm COMMAND --help' for a command's options.")
    .action(async (words: string[]) => {
      const [name, ...args] = words;
      if (name === undefined) return program.outputHelp();
      if (name === 'help') return (await helpCommand(args, program, context)).outputHelp();
      const group = own(table.groups, name);
      if (group !== undefined) return parse(groupCommand(name, group, context), args);
      await run(words, context);
    });
  return program;
}

/** The command of a group, such as `tsvm network`: runs one of the group's subcommands. */
function groupCommand(name: string, { summary, commands }: CommandGroup, context: Context): Command {
  const summaries = Object.entries(commands).map(
    ([word, command]) => [word, context.table.commands[command]?.summary ?? ''] as const,
  );
  const group = createCommand(`tsvm ${name}`, context)
    .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`)
    .usage('COMMAND')
    .enablePositionalOptions()
    .argument('[command...]')
    .passThroughOptions()
    .addHelpText('after', `\n${summaryList('Commands', summaries)}`)
    .addHelpText('after', `\nSee 'tsvm ${name} COMMAND --help' for a command's options.`)
    .action(async (words: string[]) => {
      if (words.length === 0) return group.outputHelp();
      await run([name, ...words], context);
    });
  return group;
}

async function run(words: readonly string[], context: Context): Promise<void> {
  const found = findCommand(context.table, words);
  if (found === undefined) throw unknown(words, context);
  await parse((await found.entry.load()).command(context), found.args);
}

/** The command whose help `tsvm help` prints. @throws UsageError for an unknown command */
async function helpCommand(words: readonly string[], program: Command, context: Context): Promise<Command> {
  const [name] = words;
  if (name === undefined) return program;
  const group = own(context.table.groups, name);
  if (group !== undefined && words.length === 1) return groupCommand(name, group, context);
  const found = findCommand(context.table, words);
  if (found === undefined) throw unknown(words, context);
  return (await found.entry.load()).command(context);
}

function unknown([name = '', second = '']: readonly string[], { table }: Context): UsageError {
  const group = own(table.groups, name);
  const [prefix, word] = group === undefined ? ['', name] : [`${name} `, second];
  const close = suggest(
    word,
    group === undefined ? [...listedCommands(table), ...Object.keys(table.groups)] : Object.keys(group.commands),
  );
  const hint = close === undefined ? '' : `, did you mean '${prefix}${close}'?`;
  return new UsageError(
    `'${prefix}${word}' is not a tsvm command${hint}`,
    `tsvm${group === undefined ? '' : ` ${name}`}`,
  );
}

function summaryList(heading: string, summaries: readonly (readonly [name: string, summary: string])[]): string {
  return [`${heading}:`, ...summaries.map(([name, summary]) => `  ${name.padEnd(11)} ${summary}`)].join('\n');
}

async function report(error: unknown, context: Context): Promise<void> {
  const { message, detail } = describeError(error);
  const log = await openLog(context);
  log.error(message);
  if (detail !== undefined) log.error(detail);
  if (error instanceof UsageError && error.command !== undefined && context.options.logFormat !== 'json') {
    process.stderr.write(`See '${error.command} --help'.\n`);
  }
}
