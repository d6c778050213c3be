// tsvm manifest inspect: prints a manifest or a list, of this home or of a registry.
import type { Command } from 'commander';
import { type FoundManifest, manifestLists } from '../../../images/lists.js';
import { printableJson } from '../../../printable/index.js';
import { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';

const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const INDENT = 4;

export function command(context: Context): Command {
  return createCommand('tsvm manifest inspect', context)
    .description('Prints the manifest of an image in a registry, or a list of this home, as JSON.')
    .usage('[options] [MANIFEST_LIST] MANIFEST')
    .argument('<MANIFEST_LIST>', 'name of a list of this home, or of an image or a list in a registry')
    .argument('[MANIFEST]', 'an image of that list, by the name it was added by, or by its digest')
    .option('-v, --verbose', 'print each manifest, with its name and its platform')
    .action(async (name: string, member: string | undefined, { verbose = false }) => {
      const shown = await inspect(name, member, verbose);
      process.stdout.write(`${printableJson(shown, INDENT)}\n`);
    });
}

async function inspect(name: string, member: string | undefined, isVerbose: boolean): Promise<unknown> {
  const lists = manifestLists(new Home().path);
  if (member !== undefined) {
    const found = await lists.readMember(name, member);
    return isVerbose ? describe(found) : JSON.parse(found.bytes.toString());
  }
  if (!isVerbose) return lists.read(name);
  const { isList, manifests } = await lists.readAll(name);
  return isList ? manifests.map(describe) : describe(manifests[0]);
}

/** The fields are Docker's. */
function describe(found: FoundManifest | undefined): object {
  if (found === undefined) throw new UsageError('there is no manifest');
  const { name, manifest, bytes } = found;
  const key = manifest.mediaType === DOCKER_MANIFEST ? 'SchemaV2Manifest' : 'OCIManifest';
  return { Ref: name, Descriptor: manifest, Raw: bytes.toString('base64'), [key]: JSON.parse(bytes.toString()) };
}
