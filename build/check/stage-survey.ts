// Goes through the instructions of a stage: expands their words, and follows its variables.
import { BuildError, type Place } from '../build-error.js';
import type { Instruction } from '../dockerfile/instruction.js';
import { mountFrom, parseMount } from '../dockerfile/mount.js';
import { parseTrigger } from '../dockerfile/parse.js';
import type { ExposedReader } from '../dockerfile/port.js';
import { findStage, type Plan } from '../plan.js';
import type { Expander } from './expander.js';
import { descriptionOf, type Globals } from './globals.js';
import type { IsIgnored } from './ignored.js';
import type { Scope } from './scope.js';
import type { Expanded, ParsedLine, StageLines, StepSubject } from './subjects.js';
import type { MountedId, Observer, SurveyedStage, SurveyOptions } from './surveyed.js';

interface StageWork {
  plan: Plan;
  globals: Globals;
  options: SurveyOptions;
  expander: Expander;
  exposed: ExposedReader;
  isIgnored: IsIgnored;
  observer: Observer;
}

export class StageSurvey {
  readonly #result: SurveyedStage;
  readonly #scope: Scope;
  readonly #work: StageWork;
  readonly #earlier = new Map<Instruction['kind'], Place>();

  constructor(result: SurveyedStage, scope: Scope, work: StageWork) {
    this.#result = result;
    this.#scope = scope;
    this.#work = work;
  }

  run({ from, steps }: StageLines): void {
    const { place, comments } = from.line;
    for (const text of this.#scope.inherited) {
      const instruction = parseTrigger(text, place);
      this.#step(instruction, instruction.keyword, { place, comments });
    }
    for (const { line, instruction } of steps) this.#step(instruction, line.written, line, { line, instruction });
  }

  #step(
    instruction: Instruction,
    name: string,
    at: { place: Place; comments: readonly string[] },
    parsed?: ParsedLine,
  ): void {
    const { observer, isIgnored } = this.#work;
    const scope = this.#scope;
    const found: Found = { words: [], names: [], sources: [], workdir: undefined, ports: [], values: [] };
    try {
      let failure: { error: unknown } | undefined;
      try {
        this.#expand(instruction, found);
      } catch (error) {
        failure = { error };
      }
      const subject: StepSubject = {
        ...{ instruction, name, ...found, isIgnored },
        stage: {
          variables: () => scope.variables(),
          isDeclared: (arg) => scope.declared.get(arg) !== undefined,
          hasShell: scope.hasShell,
          hasWorkdir: scope.hasWorkdir,
          earlier: (kind) => this.#earlier.get(kind),
        },
      };
      // What is found before an error is told too.
      observer.step?.(subject, at);
      if (failure !== undefined) throw failure.error;
      this.#apply(instruction, found, parsed);
    } catch (error) {
      if (!(error instanceof BuildError) || error.place !== undefined) throw error;
      throw new BuildError(error.code, error.message, { place: at.place, cause: error });
    }
    if (['cmd', 'entrypoint', 'healthcheck'].includes(instruction.kind)) {
      this.#earlier.set(instruction.kind, at.place);
    }
  }

  #expand(instruction: Instruction, found: Found): void {
    const { expander } = this.#work;
    const { place } = instruction;
    const { lookup } = this.#scope;
    const word = (text: string): string => {
      const expanded = expander.word(text, lookup, place);
      found.words.push(expanded);
      return expanded.text;
    };
    switch (instruction.kind) {
      case 'env':
      case 'label': {
        const pairs = instruction.pairs.map(([name, value]) => [word(name), word(value)] as const);
        if (instruction.kind === 'env') found.values = pairs;
        if (instruction.kind === 'env') found.names = pairs.map(([name]) => name);
        break;
      }
      case 'arg':
        found.values = instruction.args.map(({ name, value }) => [name, this.#argument(name, value, word)] as const);
        found.names = instruction.args.map(({ name }) => name);
        break;
      case 'copy':
      case 'add': {
        for (const option of [instruction.chown, instruction.chmod, instruction.checksum]) {
          if (option !== undefined) word(option);
        }
        const sources = instruction.sources.map(word);
        word(instruction.destination);
        if (instruction.from === undefined) found.sources = sources;
        for (const { contents, expands } of instruction.heredocs) {
          if (expands) found.words.push(expander.text(contents, lookup, place));
        }
        this.#use(instruction.from);
        break;
      }
      case 'run':
        for (const mount of instruction.mounts) this.#mount(mount, word, place);
        break;
      case 'workdir':
        found.workdir = word(instruction.value);
        break;
      case 'user':
      case 'stopsignal':
        word(instruction.value);
        break;
      case 'volume':
        for (const path of instruction.words) word(path);
        break;
      case 'expose':
        found.ports = instruction.words.flatMap((word) =>
          expander.words(word, lookup, place).map((text) => ({ text, exposed: this.#work.exposed.read(text) })),
        );
        break;
    }
  }

  /** The value of an ARG. A default counts if nothing else is given. */
  #argument(name: string, value: string | undefined, word: (text: string) => string): string | undefined {
    const { globals, options } = this.#work;
    if (Object.hasOwn(options.buildArgs, name)) return options.buildArgs[name];
    return value === undefined ? globals.values.get(name) : word(value);
  }

  #use(from: string | undefined): void {
    const { plan } = this.#work;
    const { stage, uses } = this.#result;
    const used = from === undefined ? undefined : findStage(plan.stages, from, stage.index);
    if (used !== undefined) uses.add(used);
  }

  #mount(text: string, word: (text: string) => string, place: Place): void {
    const { secrets, ssh } = this.#result;
    this.#use(mountFrom(text));
    const mount = parseMount(text, word);
    if (mount.type === 'secret') add(secrets, { id: mount.id, required: mount.required, place });
    if (mount.type === 'ssh') add(ssh, { id: mount.id, required: mount.required, place });
  }

  #apply(instruction: Instruction, { values, names }: Found, parsed: ParsedLine | undefined): void {
    const scope = this.#scope;
    const { globals, options } = this.#work;
    if (instruction.kind === 'env') for (const [name, value] of values) scope.env.set(name, value ?? '');
    else if (instruction.kind === 'shell') scope.hasShell = true;
    else if (instruction.kind === 'workdir') scope.hasWorkdir = true;
    else if (instruction.kind === 'onbuild') scope.triggers.push(instruction.trigger);
    else if (instruction.kind === 'arg') {
      for (const name of names) scope.declared.set(name, '');
      for (const [index, [name, value]] of values.entries()) {
        if (value !== undefined) scope.args.set(name, value);
        const hasOwn = instruction.args[index]?.value !== undefined || Object.hasOwn(options.buildArgs, name);
        if (!hasOwn && globals.values.has(name)) {
          this.#result.inherited.add(name);
          continue;
        }
        const description = parsed === undefined ? '' : descriptionOf(parsed, name);
        this.#result.args.push({ name, value, description, place: instruction.place, needs: new Set() });
      }
    }
  }
}

interface Found extends Pick<StepSubject, 'names' | 'sources' | 'workdir' | 'ports'> {
  words: Expanded[];
  names: readonly string[];
  sources: readonly string[];
  workdir: string | undefined;
  ports: StepSubject['ports'];
  /** What ENV and ARG set. */
  values: readonly (readonly [name: string, value: string | undefined])[];
}

function add(all: MountedId[], one: MountedId): void {
  if (!all.some(({ id }) => id === one.id)) all.push(one);
}
