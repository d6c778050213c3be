// What a survey is told, what it finds, and who sees it.
import type { Json, Platform } from '../../images/build.js';
import type { Place } from '../build-error.js';
import type { IgnoreRules } from '../context/ignore.js';
import type { Lines } from '../dockerfile/lines.js';
import type { NamedContexts } from '../named-contexts.js';
import type { Plan, Stage } from '../plan.js';
import type { FileSubject, FromSubject, ParsedLine, StepSubject } from './subjects.js';

export interface SurveyOptions {
  target?: string | undefined;
  buildArgs: Readonly<Record<string, string>>;
  contexts?: NamedContexts | undefined;
  /** Of the context; undefined if there is no such file. */
  ignore?: IgnoreRules | undefined;
  /** What the target is built for. Default: this machine. */
  platform?: Platform | undefined;
  /** If true, stages are looked at too that the target does not need. */
  allStages?: boolean;
  /** The image config of a base image (OCI image-spec 1.1, config.md). */
  baseConfig(reference: string, platform: Platform): Promise<Json>;
}

export interface Observer {
  text?(subject: Lines): void;
  line?(subject: ParsedLine): void;
  file?(subject: FileSubject): void;
  from?(subject: FromSubject, at: ParsedLine): void;
  /** `at.place` is where a fault is reported. */
  step?(subject: StepSubject, at: { place: Place; comments: readonly string[] }): void;
}

/** An argument that ARG declares. */
export interface DeclaredArg {
  name: string;
  value: string | undefined;
  description: string;
  place: Place;
  /** Arguments that its default names. */
  needs: Set<string>;
}

/** A secret or an SSH agent of `RUN --mount`. */
export interface MountedId {
  id: string;
  required: boolean;
  place: Place;
}

export interface SurveyedStage {
  stage: Stage;
  from: ParsedLine;
  /** Arguments that its FROM names. */
  fromArgs: ReadonlySet<string>;
  args: DeclaredArg[];
  /** Names of arguments that ARG declares without a value, and that have a global one. */
  inherited: Set<string>;
  secrets: MountedId[];
  ssh: MountedId[];
  /** Stages whose files it uses. */
  uses: Set<number>;
}

export interface Survey {
  plan: Plan;
  /** Declared before the first FROM. */
  globals: ReadonlyMap<string, DeclaredArg>;
  /** By number: those that were looked at. */
  stages: ReadonlyMap<number, SurveyedStage>;
}
