// Shared by the tests of pulling: pushes layouts to a registry, and makes stores whose contents can
// be listed.

import { execFile } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import type { Progress } from '../../../../images/index.js';
import { parseSettings } from '../../../../images/registry/settings.js';
import { STORE } from '../../../../images/store/layout.js';
import { pullImage } from '../../../../images/store/pull-image.js';
import { openStore } from '../../../../images/store/store.js';
import type { Pulled } from '../../../../images/types.js';
import { Random } from '../../../fixtures/random.js';
import { tar } from '../../../fixtures/tar-writer.js';

/** Three layers: one of 400 kB that does not compress, and two small ones. */
export function someLayers(seed = 1): Buffer[] {
  return [
    tar([{ path: 'bin' }, { path: 'large', data: new Random(seed).bytes(400_000) }]),
    tar([{ path: 'b', data: `b${seed}` }, { path: '.wh.bin' }]),
    tar([{ path: 'c', data: 'c'.repeat(5000) }]),
  ];
}

/** Copies an image with skopeo. */
export async function skopeo(from: string, to: string, ...options: string[]): Promise<void> {
  await promisify(execFile)('skopeo', ['copy', '--quiet', ...options, from, to], { timeout: 120_000 });
}

/** Pushes a layout's image to a registry over plain HTTP. */
export function push(layout: string, name: string, ...options: string[]): Promise<void> {
  return skopeo(`oci:${layout}`, `docker://${name}`, '--dest-tls-verify=false', ...options);
}

/** A store of its own. */
export interface Scene {
  home: string;
  /** Pulls into the store. The first wait after a failure is 5 ms. */
  pull(name: string, options?: { platform?: string; settings?: object }): Promise<Pulled>;
  /** The progress reported by `pull`. */
  progress: Progress[];
  /** Path and contents of each file in the store, except in its tmp/. */
  contents(): string[];
  /** The names in the store's tmp/. */
  leftovers(): string[];
}

export function newScene(work: string): Scene {
  const home = mkdtempSync(join(work, 'home-'));
  const progress: Progress[] = [];
  return {
    home,
    progress,
    pull(name, { platform, settings = {} } = {}) {
      const registryOptions = { settings: parseSettings(JSON.stringify(settings), '/settings.json'), delay: 5 };
      return pullImage(
        join(home, STORE),
        name,
        { ...(platform !== undefined && { platform }), onProgress: (at) => progress.push(at) },
        registryOptions,
      );
    },
    contents: () => ['layers', 'images', 'names'].flatMap((folder) => walk(join(home, STORE, folder))),
    leftovers: () => list(join(home, STORE, 'tmp')),
  };
}

export function storeOf({ home }: Scene) {
  return openStore(home);
}

/** Expects that the store is empty. */
export function expectNothing(scene: Scene): void {
  expect([scene.contents(), scene.leftovers()]).toEqual([[], []]);
}

function walk(path: string): string[] {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return [];
  if (!stat.isDirectory()) return [`${path} ${readFileSync(path).toString('base64')}`];
  return list(path).flatMap((name) => walk(join(path, name)));
}

function list(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}
