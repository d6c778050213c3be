// A stage as far as it is built: its layers, its image config, its history, and the variables that
// its instructions see.
import type { BuildStore, Json, LayerTree, StepResult, Timestamp } from '../../images/build.js';
import { ImageSettings } from './image-config.js';

export class StageState {
  readonly settings: ImageSettings;
  /** Diff-ids, from the bottom up. */
  readonly layers: string[];
  readonly history: Json[];
  /** Build arguments that are declared, by name. */
  readonly args = new Map<string, string>();
  /** What it consists of above its base image, by the keys of the cache. */
  readonly steps = new Map<string, StepResult>();
  /** The rest of the image config. */
  readonly #image: Json;
  readonly #store: BuildStore;
  #tree: LayerTree | undefined;
  /** When the last layer was made. Undefined while all layers are the base image's. */
  #created: string | undefined;

  constructor(store: BuildStore, image: Json, layers: readonly string[], settings = new ImageSettings(image.config)) {
    this.#store = store;
    this.#image = image;
    this.layers = [...layers];
    this.settings = settings;
    this.history = Array.isArray(image.history) ? [...image.history] : [];
  }

  /** A stage that begins where this one has ended. */
  continued(): StageState {
    const image = { ...this.#image, history: this.history };
    const next = new StageState(this.#store, image, this.layers, this.settings.clone());
    next.#created = this.#created;
    for (const [name, value] of this.args) next.args.set(name, value);
    for (const [key, step] of this.steps) next.steps.set(key, step);
    return next;
  }

  set author(name: string) {
    this.#image.author = name;
  }

  /** The files of all layers so far. */
  get tree(): LayerTree {
    this.#tree ??= this.#store.tree(this.layers);
    return this.#tree;
  }

  /** The value of a variable: ENV before ARG. */
  lookup(name: string): string | undefined {
    return this.settings.env.get(name) ?? this.args.get(name);
  }

  /** Adds the result of an instruction. A layer of null is none. */
  addLayer(key: string, step: StepResult, by: string): void {
    const { layer, created } = step;
    this.steps.set(key, step);
    this.#created = created;
    if (layer === null) {
      this.addStep(created, by);
      return;
    }
    this.layers.push(layer);
    this.history.push({ created, created_by: by });
    this.#tree = undefined;
  }

  /**
   * Adds an instruction that changed no file. Its time is that of the layer before it: so a build of
   * what is in the cache makes the same image.
   */
  addStep(now: string, by: string): void {
    this.history.push({ created: this.#created ?? now, created_by: by, empty_layer: true });
  }

  /** The image config, without its layers. */
  config(now: string): Json {
    const { architecture = 'amd64', os = 'linux', variant, author } = this.#image;
    return {
      created: this.#created ?? now,
      ...(author !== undefined && { author }),
      architecture,
      os,
      ...(variant !== undefined && { variant }),
      config: this.settings.toJson(),
      history: this.history,
    };
  }
}

/** Of files and images that the build makes: now, or what SOURCE_DATE_EPOCH says. */
export class Clock {
  readonly epoch: number | undefined;

  /** @param epoch seconds since 1970 */
  constructor(epoch: number | undefined) {
    this.epoch = epoch;
  }

  get created(): string {
    return new Date(this.epoch === undefined ? Date.now() : this.epoch * 1000).toISOString();
  }

  /** The latest time of a file, if SOURCE_DATE_EPOCH bounds them. */
  get latest(): Timestamp | undefined {
    return this.epoch === undefined ? undefined : this.now;
  }

  get now(): Timestamp {
    const seconds = this.epoch ?? Math.floor(Date.now() / 1000);
    return { seconds, nanoseconds: 0 };
  }
}
