// Parses image configs, and writes those of images made here (OCI image-spec 1.1, config.md;
// Docker's format differs only in names).

import { ImageError } from '../errors.js';
import { MAX_LAYERS } from '../limits.js';
import { checkPlatform, type Platform } from '../platform.js';
import type { ImageConfig, ImageHealthcheck } from '../types.js';
import { integer, list, object, optionalObject, parseJson, string, stringMap, strings } from './json.js';

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export interface ParsedConfig {
  config: ImageConfig;
  /** `sha256:<hex>` of each layer's tar, from the bottom up. */
  diffIds: string[];
}

/**
 * Reads an image config.
 *
 * @param platform the platform the image must be for; any by default
 * @throws ImageError `corrupt`, `not-an-image`, or `unsupported` if it is for another machine
 */
export function parseConfig(bytes: Buffer, platform?: Platform): ParsedConfig {
  const image = object(parseJson(bytes, 'the image config'), 'the image config');
  const rootfs = optionalObject(image.rootfs, "the image config's rootfs");
  if (string(rootfs.type, "the image config's rootfs.type") !== 'layers') {
    throw new ImageError('not-an-image', 'the image config has no layers: it is not a container image');
  }
  const diffIds = strings(rootfs.diff_ids, "the image config's rootfs.diff_ids");
  if (diffIds.length > MAX_LAYERS) {
    throw new ImageError('too-large', `the image has ${diffIds.length} layers; the limit is ${MAX_LAYERS}`);
  }
  for (const diffId of diffIds) checkDigest(diffId);
  const config = optionalObject(image.config, "the image config's config");
  const parsed: ImageConfig = {
    architecture: string(image.architecture, "the image config's architecture"),
    os: string(image.os, "the image config's os"),
    created: string(image.created, "the image config's created"),
    Env: strings(config.Env, "the image config's Env"),
    Entrypoint: command(config.Entrypoint, "the image config's Entrypoint"),
    Cmd: command(config.Cmd, "the image config's Cmd"),
    User: string(config.User, "the image config's User"),
    WorkingDir: string(config.WorkingDir, "the image config's WorkingDir"),
    StopSignal: string(config.StopSignal, "the image config's StopSignal"),
    ExposedPorts: Object.keys(optionalObject(config.ExposedPorts, "the image config's ExposedPorts")),
    Volumes: Object.keys(optionalObject(config.Volumes, "the image config's Volumes")),
    Labels: stringMap(config.Labels, "the image config's Labels"),
    Healthcheck: healthcheck(config.Healthcheck),
    Shell: strings(config.Shell, "the image config's Shell"),
  };
  if (platform) checkPlatform(parsed, platform);
  return { config: parsed, diffIds };
}

function healthcheck(value: unknown): ImageHealthcheck | null {
  if (value === undefined || value === null) return null;
  const what = "the image config's Healthcheck";
  const check = object(value, what);
  return {
    Test: strings(check.Test, what),
    Interval: integer(check.Interval, what),
    Timeout: integer(check.Timeout, what),
    StartPeriod: integer(check.StartPeriod, what),
    StartInterval: integer(check.StartInterval, what),
    Retries: integer(check.Retries, what),
  };
}

/** Accepts a string too: some old builders wrote one where a list belongs. */
function command(value: unknown, what: string): string[] {
  return typeof value === 'string' ? ['/bin/sh', '-c', value] : strings(list(value, what), what);
}

/**
 * Checks that a digest is a well-formed sha256 digest.
 *
 * @returns its 64 hexadecimal digits
 * @throws ImageError `corrupt`, or `unsupported` for sha512
 */
export function checkDigest(digest: string): string {
  if (DIGEST.test(digest)) return digest.slice('sha256:'.length);
  const algorithm = /^([a-z0-9]+):/.exec(digest)?.[1];
  if (algorithm === 'sha512') throw new ImageError('unsupported', 'the image has sha512 digests; tsvm reads sha256');
  throw new ImageError('corrupt', 'the image has a malformed digest');
}

/**
 * Writes an image config as JSON.
 *
 * @param diffIds `sha256:<hex>` of each layer's tar, from the bottom up
 * @param comment of the one history entry
 */
export function writeConfig(config: ImageConfig, diffIds: string[], comment: string): Buffer {
  const set = (keys: string[]): object | undefined =>
    keys.length > 0 ? Object.fromEntries(keys.map((key) => [key, {}])) : undefined;
  const some = <T extends unknown[] | string>(value: T): T | undefined => (value.length > 0 ? value : undefined);
  return Buffer.from(
    JSON.stringify({
      created: config.created,
      architecture: config.architecture,
      os: config.os,
      config: {
        User: some(config.User),
        ExposedPorts: set(config.ExposedPorts),
        Env: some(config.Env),
        Entrypoint: some(config.Entrypoint),
        Cmd: some(config.Cmd),
        Volumes: set(config.Volumes),
        WorkingDir: some(config.WorkingDir),
        Labels: Object.keys(config.Labels).length > 0 ? config.Labels : undefined,
        StopSignal: some(config.StopSignal),
      },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: [{ created: config.created, comment }],
    }),
  );
}
