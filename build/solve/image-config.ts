// The part of an image config that instructions change (OCI image-spec 1.1, config.md, and Docker's
// `Healthcheck`, `Shell` and `OnBuild`). Fields that this file does not name stay as the base image
// has them.
import type { Json } from '../../images/build.js';
import type { Health, Pair } from '../dockerfile/instruction.js';

/** Of images whose base has none, so that `ENV PATH=/more:$PATH` means what it says. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_SHELL: readonly string[] = ['/bin/sh', '-c'];

/** The config of a container, as image configs spell it. */
export class ImageSettings {
  /** A field that has a map below keeps its place here. */
  readonly #config: Json;
  // A Dockerfile may set a million names. Fields that it adds to are maps: a copy of the field for
  // each name would take time in the square of their number.
  readonly #env: Map<string, string>;
  #isEnvChanged = false;
  /** Fields that are objects, once something was added. */
  readonly #changed = new Map<string, Map<string, unknown>>();

  constructor(config: unknown) {
    this.#config = isObject(config) ? structuredClone(config) : {};
    this.#env = new Map(
      strings(this.#config.Env).map((text): Pair => {
        const equals = text.indexOf('=');
        return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
      }),
    );
    if (!this.#env.has('PATH')) this.setEnv('PATH', DEFAULT_PATH);
  }

  /** For the image config. Empty fields are left out. */
  toJson(): Json {
    const kept = Object.entries(this.#whole()).filter(([, value]) => !isEmpty(value));
    return Object.fromEntries(kept);
  }

  clone(): ImageSettings {
    return new ImageSettings(this.#whole());
  }

  /** Variables, by name, in their order. */
  get env(): ReadonlyMap<string, string> {
    return this.#env;
  }

  setEnv(name: string, value: string): void {
    this.#env.set(name, value);
    this.#isEnvChanged = true;
    this.#config.Env ??= [];
  }

  setLabel(name: string, value: string): void {
    this.#add('Labels', name, value);
  }

  get user(): string {
    return typeof this.#config.User === 'string' ? this.#config.User : '';
  }

  set user(value: string) {
    this.#config.User = value;
  }

  get workdir(): string {
    const { WorkingDir } = this.#config;
    return typeof WorkingDir === 'string' && WorkingDir !== '' ? WorkingDir : '/';
  }

  set workdir(value: string) {
    this.#config.WorkingDir = value;
  }

  set stopSignal(value: string) {
    this.#config.StopSignal = value;
  }

  get shell(): readonly string[] {
    const shell = strings(this.#config.Shell);
    return shell.length > 0 ? shell : DEFAULT_SHELL;
  }

  set shell(argv: readonly string[]) {
    this.#config.Shell = [...argv];
  }

  set command(argv: readonly string[]) {
    this.#config.Cmd = [...argv];
  }

  /** A command of the base image is for its entrypoint. */
  setEntrypoint(argv: readonly string[], keepsCommand: boolean): void {
    this.#config.Entrypoint = [...argv];
    if (!keepsCommand) this.#config.Cmd = undefined;
  }

  expose(ports: Iterable<string>): void {
    for (const port of ports) this.#add('ExposedPorts', port, {});
  }

  addVolume(path: string): void {
    this.#add('Volumes', path, {});
  }

  setHealth({ command, interval, timeout, startPeriod, startInterval, retries }: Health): void {
    const test =
      command === undefined
        ? ['NONE']
        : command.form === 'shell'
          ? ['CMD-SHELL', command.text]
          : ['CMD', ...command.argv];
    this.#config.Healthcheck = defined({
      Test: test,
      Interval: interval,
      Timeout: timeout,
      StartPeriod: startPeriod,
      StartInterval: startInterval,
      Retries: retries,
    });
  }

  get triggers(): string[] {
    return strings(this.#config.OnBuild);
  }

  addTrigger(text: string): void {
    if (Array.isArray(this.#config.OnBuild)) this.#config.OnBuild.push(text);
    else this.#config.OnBuild = [text];
  }

  /** They have run. */
  dropTriggers(): void {
    this.#config.OnBuild = undefined;
  }

  #add(field: string, key: string, value: unknown): void {
    let entries = this.#changed.get(field);
    if (entries === undefined) {
      const { [field]: before } = this.#config;
      entries = new Map(isObject(before) ? Object.entries(before) : []);
      this.#changed.set(field, entries);
      this.#config[field] ??= {};
    }
    entries.set(key, value);
  }

  #whole(): Json {
    const whole = { ...this.#config };
    if (this.#isEnvChanged) whole.Env = [...this.#env].map(([name, value]) => `${name}=${value}`);
    for (const [field, entries] of this.#changed) whole[field] = Object.fromEntries(entries);
    return whole;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function defined(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
