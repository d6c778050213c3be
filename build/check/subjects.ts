// What the rules of the build checks look at. Plain data: survey.ts makes it.
import type { Place } from '../build-error.js';
import type { FromInstruction, Instruction } from '../dockerfile/instruction.js';
import type { Line } from '../dockerfile/lines.js';
import type { Exposed } from '../dockerfile/port.js';
import type { IsIgnored } from './ignored.js';

/** An instruction, as written and parsed. */
export interface ParsedLine {
  line: Line;
  instruction: Instruction;
}

export interface StageLines {
  from: ParsedLine & { instruction: FromInstruction };
  steps: ParsedLine[];
}

/** The whole Dockerfile. */
export interface FileSubject {
  stages: readonly StageLines[];
  /** The image of a FROM if no build argument is given; undefined if it cannot be told. */
  defaultImage(stage: StageLines): string | undefined;
}

/** A word whose variables are expanded, and the variables that it names. */
export interface Expanded {
  text: string;
  matched: ReadonlySet<string>;
  unmatched: ReadonlySet<string>;
}

export interface FromSubject {
  from: FromInstruction;
  image: Expanded;
  platform: Expanded | undefined;
  /** Names of arguments that FROM may use. */
  declared: ReadonlySet<string>;
  /** The value of TARGETPLATFORM. */
  target: string | undefined;
}

/** An instruction of a stage, and the stage as it is before it. */
export interface StepSubject {
  instruction: Instruction;
  /** The keyword, as written. */
  name: string;
  /** The words that an undefined variable makes empty. */
  words: readonly Expanded[];
  /** The names that ENV and ARG set. */
  names: readonly string[];
  /** Paths of the context that COPY and ADD name. */
  sources: readonly string[];
  /** The path of WORKDIR. */
  workdir: string | undefined;
  ports: readonly { text: string; exposed: Exposed }[];
  stage: {
    /** Names of variables that have a value. */
    variables(): Iterable<string>;
    /** True if ARG has declared a name, with a value or without. */
    isDeclared(name: string): boolean;
    hasShell: boolean;
    hasWorkdir: boolean;
    /** Where CMD, ENTRYPOINT or HEALTHCHECK stands already in this stage. */
    earlier(kind: Instruction['kind']): Place | undefined;
  };
  /** What of the context is not seen. */
  isIgnored: IsIgnored;
}
