// Finds an image in a registry or its mirrors by name, and streams its layers (OCI
// distribution-spec 1.1, "Pull"). Opens repositories to push to.

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { MAX_JSON_BYTES } from '../limits.js';
import type { Platform } from '../platform.js';
import { familiarName, familiarReference, type NameReference } from '../reference.js';
import { object, parseJson } from '../source/json.js';
import { ACCEPT_MANIFESTS, type Descriptor, INDEX_TYPES, MANIFEST_TYPES, openManifest } from '../source/manifest.js';
import type { SourceImage } from '../source/source-image.js';
import { blobRequest, downloadBlob, pullScope } from './blob.js';
import { Connections, discard, readBody } from './connections.js';
import { findCredentials } from './credentials.js';
import { Destination } from './destination.js';
import { Endpoint } from './endpoint.js';
import { hostUrl } from './host.js';
import { failureOf } from './refusal.js';
import { readSettings, type Settings } from './settings.js';
import { retrying } from './transient.js';

/** Milliseconds of the first wait after a failure. */
const DELAY = 500;

export interface RegistryOptions {
  /** Default: the settings of the file that docs/registries.md describes. */
  settings?: Settings;
  /** Milliseconds of the first wait after a failure. */
  delay?: number;
}

interface RegistryImage {
  /** `sha256:<hex>` of the manifest or index that the name refers to. */
  digest: string;
  image: SourceImage;
}

/** A manifest or an index, as it came. */
export interface Manifest {
  bytes: Buffer;
  descriptor: Descriptor;
}

/**
 * The registries of one set of settings. Disposing of it closes all connections and aborts reads in
 * progress.
 */
export class Registry implements Disposable {
  readonly #settings: Settings;
  readonly #connections: Connections;
  readonly #delay: number;
  /** By domain. All requests to a server share its tokens. */
  readonly #servers = new Map<string, Endpoint[]>();

  /** @throws ImageError `bad-settings` */
  constructor({ settings = readSettings(), delay = DELAY }: RegistryOptions = {}) {
    this.#settings = settings;
    this.#connections = new Connections(settings);
    this.#delay = delay;
  }

  /**
   * Finds an image. Its layers are downloaded when they are streamed, which must be before
   * disposal.
   *
   * @param platform the variant to choose
   * @throws ImageError
   */
  async find(reference: NameReference, platform: Platform): Promise<RegistryImage> {
    return await this.#first(reference, async (endpoints) => {
      const top = await this.#manifest(endpoints[0], reference, wantedOf(reference));
      const image = await this.#open(endpoints, reference, top, platform);
      return { digest: top.descriptor.digest, image };
    });
  }

  /**
   * Reads the manifest or index that a name refers to.
   *
   * @param signal once aborted, the download fails
   * @throws ImageError
   */
  manifest(reference: NameReference, signal?: AbortSignal): Promise<Manifest> {
    return this.#first(reference, ([endpoint]) => this.#manifest(endpoint, reference, wantedOf(reference), signal));
  }

  /**
   * Streams a blob, at most its size. The caller verifies the digest.
   *
   * @param repository `DOMAIN/PATH`
   * @param signal once aborted, the download fails
   * @throws ImageError
   */
  blob(
    repository: string,
    { digest, size }: { digest: string; size: number },
    signal?: AbortSignal,
    what = 'a layer',
  ): AsyncGenerator<Buffer> {
    const slash = repository.indexOf('/');
    const endpoints = this.#endpoints(repository.slice(0, slash));
    const request = { repository: repository.slice(slash + 1), digest, size, what };
    return downloadBlob(endpoints, request, this.#delay, signal);
  }

  /** The repository of a name, to push to. @param signal ends each of its operations */
  destination(reference: NameReference, signal: AbortSignal): Destination {
    const endpoint = this.#endpoints(reference.domain).at(-1);
    if (endpoint === undefined) throw new ImageError('network', `no server is known for ${reference.domain}`);
    return new Destination(endpoint, reference, this.#delay, signal);
  }

  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]();
  }

  #endpoints(domain: string): Endpoint[] {
    const known = this.#servers.get(domain);
    if (known) return known;
    const servers: [string, URL][] = this.#settings.of(domain).mirrors.map((url) => [url.host, url]);
    servers.push([domain, hostUrl(domain)]);
    const endpoints = servers.map(([host, url]) => new Endpoint(host, url, this.#connections, findCredentials));
    this.#servers.set(domain, endpoints);
    return endpoints;
  }

  /** Reads from the first server that gives it: a mirror, or the registry, whose failure is thrown. */
  async #first<T>(reference: NameReference, read: (endpoints: [Endpoint, ...Endpoint[]]) => Promise<T>): Promise<T> {
    const all = this.#endpoints(reference.domain);
    for (const [i, endpoint] of all.entries()) {
      try {
        // The servers before this one failed: do not ask them for blobs.
        return await read([endpoint, ...all.slice(i + 1)]);
      } catch (error) {
        if (i === all.length - 1) throw denied(error, reference);
      }
    }
    throw new ImageError('network', `no server is known for ${reference.domain}`);
  }

  /** @param wanted a tag or a digest */
  #manifest(endpoint: Endpoint, reference: NameReference, wanted: string, signal?: AbortSignal): Promise<Manifest> {
    const read = async () => {
      const path = `v2/${reference.path}/manifests/${wanted}`;
      const answer = await endpoint.get(path, pullScope(reference.path), { accept: ACCEPT_MANIFESTS }, signal);
      if (answer.status === 404) {
        discard(answer);
        throw new ImageError('unknown-image', `No such image: ${endpoint.host} has no ${familiarReference(reference)}`);
      }
      if (answer.status !== 200) throw await failureOf(answer, 'manifest');
      const bytes = await readBody(answer, MAX_JSON_BYTES, 'the manifest');
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      const claimed = wanted.startsWith('sha256:') ? wanted : answer.headers['docker-content-digest'];
      if (typeof claimed === 'string' && claimed.startsWith('sha256:') && claimed !== digest) {
        throw new ImageError('corrupt', `the manifest does not match its digest: ${digest} instead of ${claimed}`);
      }
      const { mediaType } = object(parseJson(bytes, 'the manifest'), 'the manifest');
      const type = answer.headers['content-type']?.replace(/[\s;].*$/, '') ?? '';
      return {
        bytes,
        descriptor: {
          mediaType: typeof mediaType === 'string' ? mediaType : type,
          digest,
          size: bytes.length,
          annotations: {},
          platform: null,
        },
      };
    };
    return retrying(this.#delay, read, signal);
  }

  /** Opens an image whose manifest the first endpoint has. Its blobs may come from the others. */
  #open(
    endpoints: [Endpoint, ...Endpoint[]],
    reference: NameReference,
    top: Manifest,
    platform: Platform,
  ): Promise<SourceImage> {
    const { path } = reference;
    const [endpoint] = endpoints;
    const read = async (descriptor: Descriptor, what: string): Promise<Buffer> => {
      if (descriptor.digest === top.descriptor.digest) return top.bytes;
      if (descriptor.size > MAX_JSON_BYTES) {
        throw new ImageError('too-large', `${what} has ${descriptor.size} bytes; the limit is ${MAX_JSON_BYTES}`);
      }
      if (MANIFEST_TYPES.includes(descriptor.mediaType) || INDEX_TYPES.includes(descriptor.mediaType)) {
        return (await this.#manifest(endpoint, reference, descriptor.digest)).bytes;
      }
      const chunks: Buffer[] = [];
      const request = blobRequest(path, descriptor, what);
      for await (const chunk of downloadBlob(endpoints, request, this.#delay)) chunks.push(chunk);
      return Buffer.concat(chunks);
    };
    const stream = (layer: Descriptor) => downloadBlob(endpoints, blobRequest(path, layer, 'a layer'), this.#delay);
    return openManifest({ read, stream }, top.descriptor, platform);
  }
}

/** The tag or digest that a name asks for. */
function wantedOf({ digest, tag }: NameReference): string {
  return digest ?? tag ?? 'latest';
}

/**
 * Turns `unauthorized` into Docker's message. Registries do not tell a private repository from a
 * missing one.
 */
function denied(error: unknown, reference: NameReference): unknown {
  if (!(error instanceof ImageError) || error.code !== 'unauthorized') return error;
  const login = reference.domain === 'docker.io' ? 'tsvm login' : `tsvm login ${reference.domain}`;
  return new ImageError(
    'unauthorized',
    `pull access denied for ${familiarName(reference)}, repository does not exist or may require '${login}' (${error.message})`,
    { cause: error },
  );
}
