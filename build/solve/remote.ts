// The files that ADD downloads. A Dockerfile may be a stranger's, so they come from the public
// Internet alone, unless the user's settings say otherwise.
import { createReadStream } from 'node:fs';
import { posix } from 'node:path';
import type { BuildSteps, SpooledFile } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { fetchFile, fileUrl, shownUrl } from '../context/remote.js';
import type { LooseFile } from './copy.js';

/** Docker's mode of files that were downloaded. */
const MODE = 0o600;

export interface RemoteOptions {
  cache: BuildSteps;
  /** `none`, `default` or `host`: the build's. */
  network: string;
  signal: AbortSignal;
}

/** A file at a URL, downloaded when it is asked for, once. */
export class RemoteFile {
  readonly name: string;
  readonly #url: URL;
  readonly #checksum: string | undefined;
  readonly #options: RemoteOptions;
  #file: Promise<{ spooled: SpooledFile; lastModified: number | undefined }> | undefined;

  /**
   * @param checksum `sha256:<hex>`
   * @throws BuildError `bad-dockerfile`, `bad-option`
   */
  constructor(source: string, checksum: string | undefined, options: RemoteOptions) {
    this.#url = urlOf(source);
    this.name = nameOf(this.#url, source);
    this.#checksum = checksum === undefined ? undefined : checksumOf(checksum);
    this.#options = options;
    if (options.network === 'none') {
      throw new BuildError('bad-option', `cannot download ${source}: the network of this build is none`);
    }
  }

  /** The SHA-256 of the contents, in hexadecimal digits. */
  async hash(): Promise<string> {
    return this.#checksum ?? (await this.#open()).spooled.sha256;
  }

  /** @throws BuildError `bad-context` if the checksum is another; ImageError */
  async open(): Promise<LooseFile> {
    const { spooled, lastModified } = await this.#open();
    const contents = () => createReadStream(spooled.path) as AsyncIterable<Buffer>;
    const mtime = { seconds: lastModified ?? 0, nanoseconds: 0 };
    return { name: Buffer.from(this.name).toString('latin1'), contents, size: spooled.size, mode: MODE, mtime };
  }

  #open() {
    this.#file ??= this.#download();
    return this.#file;
  }

  async #download() {
    const { cache, signal } = this.#options;
    const found = await fetchFile(this.#url, { reach: 'public', signal }, async (file) => ({
      spooled: await cache.spool(file.bytes),
      lastModified: file.lastModified,
    }));
    const { sha256 } = found.spooled;
    if (this.#checksum === undefined || this.#checksum === sha256) return found;
    throw new BuildError(
      'bad-context',
      `${shownUrl(this.#url)}: the checksum is sha256:${sha256}, not as --checksum says`,
    );
  }
}

function urlOf(source: string): URL {
  const url = fileUrl(source);
  if (url === undefined) {
    throw new BuildError(
      'bad-dockerfile',
      `ADD takes files from the context, a URL of http or https or a repository of git, not from ${source}`,
    );
  }
  return url;
}

/** The last name of the path, which becomes the file's. */
function nameOf(url: URL, source: string): string {
  let name: string;
  try {
    name = decodeURIComponent(posix.basename(url.pathname));
  } catch {
    name = '';
  }
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw new BuildError('bad-dockerfile', `cannot determine the name of the file from ${source}`);
  }
  return name;
}

function checksumOf(text: string): string {
  const [, digits] = /^sha256:([0-9a-f]{64})$/i.exec(text) ?? [];
  if (digits === undefined)
    throw new BuildError('bad-dockerfile', `invalid --checksum: ${text}: expected sha256:<hex>`);
  return digits.toLowerCase();
}
