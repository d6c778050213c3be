// `docker import`: makes an image of one layer from a root file system's tar.

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { ImageError, toImageError } from '../errors.js';
import { applyChanges } from '../import-changes.js';
import { familiarName, familiarReference, parseName } from '../reference.js';
import { parseConfig, writeConfig } from '../source/config.js';
import { wholeFile } from '../source/file-tree.js';
import type { ImageConfig, ImageSummary, ImportOptions } from '../types.js';
import { addImage, convertInto } from './add-image.js';
import { summarize } from './list.js';
import { openWorkspace } from './workspace.js';

/**
 * Imports a root file system.
 *
 * @throws ImageError
 */
export async function importRootfs(
  home: string,
  source: string | AsyncIterable<Uint8Array>,
  nameText: string,
  options: ImportOptions,
): Promise<ImageSummary> {
  const from = typeof source === 'string' ? source : 'a stream';
  try {
    const name = parseName(nameText);
    if (name.digest !== null) throw new ImageError('bad-reference', 'cannot import digest reference');
    const config = applyChanges({ ...defaultConfig(), ...options.config }, options.changes ?? []);
    const { size, stream } = openSource(source);
    await using workspace = await openWorkspace(home);
    const layer = { digest: null, size, stream };
    const diffId = await convertInto(workspace, layer, null, options.onProgress);
    const configBytes = writeConfig(config, [diffId], `Imported from ${from}`);
    const image = {
      digest: `sha256:${createHash('sha256').update(configBytes).digest('hex')}`,
      config: parseConfig(configBytes).config,
      configBytes,
      manifestBytes: null,
      layers: [{ ...layer, diffId }],
    };
    await addImage(home, workspace, image, name, options.onProgress);
    return { ...summarize(home, image.digest)!, name: familiarName(name), tag: name.tag };
  } catch (error) {
    if (error instanceof ImageError && (error.code === 'corrupt' || error.code === 'not-an-image')) {
      throw new ImageError(error.code, `cannot import ${from}: ${error.message}`, { cause: error });
    }
    throw toImageError(error, `cannot import ${from} as ${familiar(nameText)}`);
  }
}

function familiar(text: string): string {
  try {
    return familiarReference(parseName(text));
  } catch {
    return text;
  }
}

/** The config that `docker import` gives an image. */
function defaultConfig(): ImageConfig {
  return {
    architecture: 'amd64',
    os: 'linux',
    created: new Date().toISOString(),
    Env: [],
    Entrypoint: [],
    Cmd: [],
    User: '',
    WorkingDir: '',
    StopSignal: '',
    ExposedPorts: [],
    Volumes: [],
    Labels: {},
  };
}

function openSource(source: string | AsyncIterable<Uint8Array>): {
  size: number | null;
  stream: () => AsyncIterable<Buffer>;
} {
  if (source === '-') return { size: null, stream: () => process.stdin as AsyncIterable<Buffer> };
  if (typeof source !== 'string') return { size: null, stream: () => asBuffers(source) };
  const stat = statSync(source, { throwIfNoEntry: false });
  if (!stat) throw new ImageError('not-an-image', 'no such file');
  if (stat.isDirectory()) throw new ImageError('not-an-image', 'it is a directory, not a tar');
  // A pipe has no size.
  return { ...wholeFile(source, stat.size), size: stat.isFile() ? stat.size : null };
}

async function* asBuffers(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const bytes of source) yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
