// A command line: which command is meant, and what is said of its failure.
import type { Command } from 'commander';
import { COMMANDS, findCommand, GROUPS } from './command-table.js';
import { type Context, createCommand, openLog, parse } from './commands/command.js';
import { describeError, exitCode, UsageError } from './output/errors.js';
import { suggest } from './suggestion.js';

/** Runs a command line to its end; what became of it is in `context`. */
export async function runCommandLine(argv: readonly string[], context: Context): Promise<void> {
  try {
    await dispatch(argv, context);
  } catch (error) {
    context.exitCode = exitCode(error);
    await report(error, context);
  }
}

async function dispatch(argv: readonly string[], context: Context): Promise<void> {
  const program = createCommand('tsvm', context)
    .description('Runs container images, each in a virtual machine of its own.')
    .usage('[options] COMMAND')
    .version(`tsvm ${context.version}`, '-v, --version', 'show the version')
    .enablePositionalOptions()
    .argument('[command...]')
    .passThroughOptions()
    .addHelpText('after', `\n${commandList()}\n\nSee 'tsvm COMMAND --help' for a command's options.`)
    .action(async ([name, ...args]: string[]) => {
      if (name === undefined) return program.outputHelp();
      if (name === 'help') return help(args, context, program);
      const found = findCommand([name, ...args]);
      if (found === undefined) throw unknown(name, args[0]);
      await parse((await found.entry.load()).command(context), found.args);
    });
  await parse(program, argv);
}

async function help(words: string[], context: Context, program: Command): Promise<void> {
  if (words.length === 0) return program.outputHelp();
  const found = findCommand(words);
  if (found === undefined) throw unknown(words[0], words[1]);
  (await found.entry.load()).command(context).outputHelp();
}

function unknown(name: string, second: string | undefined): UsageError {
  const isGroup = Object.hasOwn(GROUPS, name);
  const word = isGroup && second !== undefined ? second : name;
  const close = suggest(word, Object.keys(isGroup ? GROUPS[name] : COMMANDS));
  const hint = close === undefined ? '' : `, did you mean '${isGroup ? `${name} ` : ''}${close}'?`;
  return new UsageError(
    `'${isGroup && second !== undefined ? `${name} ${second}` : name}' is not a tsvm command${hint}`,
    'tsvm',
  );
}

function commandList(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`);
  return ['Commands:', ...lines].join('\n');
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
