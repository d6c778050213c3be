// The variables of a stage, and what else it hands on to the stages that begin from it.
import { messageOf } from '../../errors/index.js';
import type { Json } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import type { Stage } from '../plan.js';
import { DEFAULT_PATH } from '../solve/image-config.js';
import type { SurveyOptions } from './surveyed.js';

/** Names of a stage, above those of the stage that it begins from. */
class Layered {
  readonly #own = new Map<string, string>();
  readonly #below: Layered | undefined;

  constructor(below?: Layered) {
    this.#below = below;
  }

  get(name: string): string | undefined {
    for (let at: Layered | undefined = this; at !== undefined; at = at.#below) {
      const value = at.#own.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  set(name: string, value: string): void {
    this.#own.set(name, value);
  }

  *keys(): Generator<string> {
    for (let at: Layered | undefined = this; at !== undefined; at = at.#below) yield* at.#own.keys();
  }
}

export class Scope {
  hasShell: boolean;
  hasWorkdir = false;
  /** Instructions of ONBUILD. */
  readonly triggers: string[];
  /** Those of the image or stage below, which run in this one. */
  readonly inherited: readonly string[];
  readonly env: Layered;
  readonly args: Layered;
  readonly declared: Layered;

  constructor(below: Scope | undefined, hasShell: boolean, inherited: readonly string[]) {
    this.hasShell = hasShell;
    this.hasWorkdir = below?.hasWorkdir ?? false;
    this.triggers = [];
    this.inherited = inherited;
    this.env = new Layered(below?.env);
    this.args = new Layered(below?.args);
    this.declared = new Layered(below?.declared);
  }

  continued(): Scope {
    return new Scope(this, this.hasShell, this.triggers);
  }

  readonly lookup = (name: string): string | undefined => this.env.get(name) ?? this.args.get(name);

  *variables(): Generator<string> {
    yield* this.env.keys();
    yield* this.args.keys();
  }
}

/** The scope of a stage that begins from an image, or from nothing. */
export async function firstScope(
  { base, platform, place }: Stage,
  { baseConfig }: Pick<SurveyOptions, 'baseConfig'>,
): Promise<Scope> {
  let config: Json = {};
  if (base.is === 'image') {
    try {
      const image = await baseConfig(base.reference, platform);
      config = isObject(image.config) ? image.config : {};
    } catch (error) {
      throw new BuildError('bad-dockerfile', messageOf(error), { place, cause: error });
    }
  }
  const scope = new Scope(undefined, strings(config.Shell).length > 0, strings(config.OnBuild));
  scope.env.set('PATH', DEFAULT_PATH);
  for (const text of strings(config.Env)) {
    const [, name = text, value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    scope.env.set(name, value);
  }
  return scope;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
