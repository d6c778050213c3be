// tsvm compare: measures levels of isolation side by side.
import { accessSync, constants, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import {
  CompareError,
  changesBetween,
  compare,
  formatTable,
  isWorse,
  LEVELS,
  levelsOf,
  parseCpuList,
  readReport,
  renderPage,
} from '../../../compare/index.js';
import { messageOf } from '../../../errors/index.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { parseDuration } from '../../options/duration.js';
import { parseCount } from '../../options/number.js';
import { parseSize } from '../../options/size.js';
import { FAILED, UsageError } from '../../output/errors.js';
import { describeProgress, openProgressLine } from '../../output/progress.js';
import { type Context, createCommand } from '../command.js';

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The exit code of a comparison that SIGINT ended. */
const INTERRUPTED = 130;
/** The exit code if something is worse than in the report of `--against`. */
const WORSE = 1;
const ROUNDS = 10;
const AT_ONCE = 10;
/** Milliseconds. */
const LIMIT = 14 * 60_000;
const MEMORY = 256 * 2 ** 20;
/** Milliseconds that each operation is repeated for, at least. */
const TIME = 50;

interface Options {
  levels?: readonly string[];
  rounds?: number;
  memory?: number;
  format?: 'table' | 'json';
  output?: string;
  probes?: boolean;
  surface?: boolean;
  against?: string;
  limit?: number;
  atOnce?: number;
  pin?: readonly number[];
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '--probes', help: 'only show what a command inside sees and reaches', field: 'probes' },
  { flags: '--surface', help: "only show what of the host the level's processes may and do use", field: 'surface' },
  {
    flags: '--levels <NAME,...>',
    help: 'levels to compare (default: all that this host has)',
    field: 'levels',
    values: LEVELS.map(({ name }) => name),
    parse: (text, flag, before = []) => [...before, ...parseNames(text, flag)],
  },
  {
    flags: '--rounds <N>',
    help: `rounds, after one that warms up (default: ${ROUNDS})`,
    field: 'rounds',
    parse: parseRounds,
  },
  {
    flags: '--limit <DURATION>',
    help: 'time that all may take; what is left then is not measured (default: 14m)',
    field: 'limit',
    parse: parseDuration,
  },
  {
    flags: '--at-once <N>',
    help: `sandboxes of a level to start at once; 0 for none (default: ${AT_ONCE})`,
    field: 'atOnce',
    parse: parseAtOnce,
  },
  {
    flags: '--pin <CPU,...>',
    help: "run all programs of the levels on these CPUs: '0', '0,2' or '0-3' (default: any)",
    field: 'pin',
    parse: parsePin,
  },
  {
    flags: '--against <FILE>',
    help: 'show what has changed since an older report in JSON',
    field: 'against',
    parse: (text) => text,
  },
  {
    flags: '-m, --memory <SIZE>',
    help: 'memory limit of each sandbox (default: 256m)',
    field: 'memory',
    parse: parseSize,
  },
  { flags: '--format <FORMAT>', help: 'format of what is printed', field: 'format', choices: ['table', 'json'] },
  {
    flags: '-o, --output <FILE>',
    help: 'also write a page (.html) or the raw samples (.json)',
    field: 'output',
    parse: parseOutput,
  },
];

const EXAMPLES = `
Examples:
  tsvm compare debian:12
  tsvm compare --levels process,runc,tcg --rounds 20 debian:12 -- sha256sum /bin/bash
  tsvm compare --probes debian:12
  tsvm compare --output report.html debian:12
  tsvm compare --format json debian:12 > report.json
  tsvm compare --against report.json debian:12

Levels: ${LEVELS.map(({ name }) => name).join(', ')}`;

function parseNames(text: string, flag: string): string[] {
  const names = text.split(',').filter((name) => name !== '');
  if (names.length > 0) return names;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected names of levels, with commas between them`);
}

function parseRounds(text: string, flag: string): number {
  const rounds = parseCount(text, flag);
  if (rounds >= 1 && rounds <= 10_000) return rounds;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected 1 to 10000`);
}

function parsePin(text: string, flag: string): number[] {
  const cpus = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/.test(text) ? parseCpuList(text) : [];
  if (cpus.length > 0 && cpus.every((cpu) => cpu < 1024)) return cpus;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected CPUs such as 0, 0,2 or 0-3`);
}

function parseAtOnce(text: string, flag: string): number {
  const count = parseCount(text, flag);
  if (count <= 1000) return count;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected 0 to 1000`);
}

function parseOutput(text: string, flag: string): string {
  if (/\.(json|html)$/.test(text)) return text;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected a name that ends in .html or .json`);
}

export function command(context: Context): Command {
  const command = createCommand('tsvm compare', context)
    .description('Measures what each level of isolation costs, for an image on this host.')
    .usage('[options] IMAGE [-- COMMAND [ARG...]]')
    .argument('<IMAGE>', 'name or ID, oci:DIR[:TAG], oci-archive:FILE, or docker-archive:FILE')
    .argument('[COMMAND...]', 'command to measure at each level, and its arguments')
    .passThroughOptions();
  return addOptions(command, OPTIONS)
    .addHelpText('after', EXAMPLES)
    .action(async (image: string, words: string[]) => {
      await run(image, words[0] === '--' ? words.slice(1) : words, readOptions(OPTIONS, command), context);
    });
}

async function run(image: string, words: readonly string[], options: Options, context: Context): Promise<void> {
  // A comparison takes minutes.
  if (options.output !== undefined) checkFolder(options.output);
  const older = options.against === undefined ? undefined : readReport(options.against);
  const levels = options.levels === undefined ? LEVELS : levelsOf(options.levels);
  const only = options.probes === true || options.surface === true;
  const ending = new AbortController();
  const end = () => ending.abort();
  using line = openProgressLine(context.options.quiet, { long: true });
  const found = await compare({
    ...{ image, levels, time: TIME, version: context.version, signal: ending.signal },
    ...{ rounds: options.rounds ?? ROUNDS, memory: options.memory ?? MEMORY },
    ...{ limit: options.limit ?? LIMIT, atOnce: options.atOnce ?? AT_ONCE },
    ...(options.pin && { cpus: options.pin }),
    ...(words.length > 0 && { command: words }),
    ...{ costs: !only, probes: options.probes === true, surface: !only || options.surface === true },
    // A signal during a download ends the program, as at `tsvm pull`.
    onImage() {
      for (const name of ENDING) process.on(name, end);
    },
    onPull: (progress) => line.draw(describeProgress(progress)),
    onStep: (text, share) => line.draw(`${Math.round(share * 100)} %  ${text}`),
  });
  line[Symbol.dispose]();
  const report = older === undefined ? found : { ...found, changes: changesBetween(older, found) };
  const json = `${JSON.stringify(report, null, 2)}\n`;
  process.stdout.write(options.format === 'json' ? json : formatTable(report));
  if (options.output !== undefined) {
    write(options.output, options.output.endsWith('.html') ? renderPage(report) : json);
  }
  if (!report.complete) context.exitCode = INTERRUPTED;
  else if (report.levels.every(({ state }) => state !== 'measured')) context.exitCode = FAILED;
  else if (report.changes !== undefined && isWorse(report.changes)) context.exitCode = WORSE;
}

/** @throws CompareError `report` if no file can be made beside `path` */
function checkFolder(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new CompareError('report', `cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Writes a file at once: an old one is replaced when the new one is complete. */
function write(path: string, text: string): void {
  const partial = `${path}.${process.pid}.partial`;
  try {
    writeFileSync(partial, text);
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw new CompareError('report', `cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
}
