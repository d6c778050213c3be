// The table of all commands, by name. A command's file is loaded when that command runs.
import type { CommandEntry, CommandGroup, CommandTable } from './commands/command.js';

const COMMANDS: Record<string, CommandEntry> = {
  run: { summary: 'run a command in a new container', load: () => import('./commands/container/run.js') },
  create: { summary: 'create a new container', load: () => import('./commands/container/create.js') },
  start: { summary: 'start one or more stopped containers', load: () => import('./commands/container/start.js') },
  stop: { summary: 'stop one or more running containers', load: () => import('./commands/container/stop.js') },
  restart: { summary: 'restart one or more containers', load: () => import('./commands/container/restart.js') },
  kill: { summary: 'kill one or more running containers', load: () => import('./commands/container/kill.js') },
  wait: {
    summary: 'wait for containers to stop, then print their exit codes',
    load: () => import('./commands/container/wait.js'),
  },
  rm: { summary: 'remove one or more containers', load: () => import('./commands/container/rm.js') },
  rename: { summary: 'rename a container', load: () => import('./commands/container/rename.js') },
  exec: { summary: 'run a command in a running container', load: () => import('./commands/container/exec.js') },
  attach: {
    summary: 'attach to the output and input of a running container',
    load: () => import('./commands/container/attach.js'),
  },
  pause: { summary: 'pause all processes of containers', load: () => import('./commands/container/pause.js') },
  unpause: {
    summary: 'resume paused containers',
    load: async () => ({ command: (await import('./commands/container/pause.js')).unpause }),
  },
  suspend: {
    summary: 'save containers to the disk and end them',
    load: () => import('./commands/container/suspend.js'),
  },
  resume: {
    summary: 'continue suspended containers',
    load: async () => ({ command: (await import('./commands/container/suspend.js')).resume }),
  },
  rollback: {
    summary: 'take a container back to a snapshot of it',
    load: () => import('./commands/container/rollback.js'),
  },
  fork: { summary: 'start clones of a running container', load: () => import('./commands/container/fork.js') },
  cp: { summary: 'copy files between a container and the host', load: () => import('./commands/container/cp.js') },
  diff: { summary: "show the changes to a container's files", load: () => import('./commands/container/diff.js') },
  commit: {
    summary: "create an image from a container's changes",
    load: () => import('./commands/container/commit.js'),
  },
  top: { summary: 'list the processes of a container', load: () => import('./commands/container/top.js') },
  stats: { summary: 'show the resource usage of containers', load: () => import('./commands/container/stats.js') },
  events: { summary: 'show events of containers', load: () => import('./commands/system/events.js') },
  ps: { summary: 'list containers', load: () => import('./commands/container/ps.js') },
  port: {
    summary: 'list the published ports of a container',
    load: () => import('./commands/container/port.js'),
  },
  logs: { summary: 'show the logs of a container', load: () => import('./commands/container/logs.js') },
  build: { summary: 'build an image from a Dockerfile', load: () => import('./commands/image/build.js') },
  images: { summary: 'list images', load: () => import('./commands/image/images.js') },
  import: { summary: 'create an image from a root file system', load: () => import('./commands/image/import.js') },
  pull: { summary: 'download an image from a registry', load: () => import('./commands/image/pull.js') },
  push: { summary: 'upload an image to a registry', load: () => import('./commands/image/push.js') },
  load: { summary: 'load images from an archive', load: () => import('./commands/image/load.js') },
  save: { summary: 'save images to an archive', load: () => import('./commands/image/save.js') },
  tag: { summary: 'add a name to an image', load: () => import('./commands/image/tag.js') },
  history: { summary: 'show the history of an image', load: () => import('./commands/image/history.js') },
  inspect: {
    summary: 'show all details of containers and images',
    load: () => import('./commands/system/inspect.js'),
  },
  rmi: { summary: 'remove one or more images', load: () => import('./commands/image/rmi.js') },
  prune: { summary: 'remove unused images', load: () => import('./commands/image/prune.js') },
  df: { summary: 'show disk usage', load: () => import('./commands/system/df.js') },
  login: { summary: 'log in to a registry', load: () => import('./commands/system/login.js') },
  logout: { summary: 'log out from a registry', load: () => import('./commands/system/logout.js') },
  completion: { summary: 'print the completion script of a shell', load: () => import('./completion.js') },
  compare: {
    summary: 'measure levels of isolation side by side',
    load: () => import('./commands/compare/compare.js'),
  },
  serve: { summary: 'run sandboxes and jobs of tenants, over HTTP', load: () => import('./commands/service/serve.js') },
  backup: { summary: 'copy the data folder of a service', load: () => import('./commands/service/backup.js') },
  doctor: { summary: 'check whether this host can run containers', load: () => import('./commands/system/doctor.js') },
  'container prune': {
    summary: 'remove all stopped containers',
    load: () => import('./commands/container/prune.js'),
  },
  'network create': { summary: 'create a network', load: () => import('./commands/network/create.js') },
  'network ls': { summary: 'list networks', load: () => import('./commands/network/ls.js') },
  'network rm': { summary: 'remove one or more networks', load: () => import('./commands/network/rm.js') },
  'network inspect': { summary: 'show all details of networks', load: () => import('./commands/network/inspect.js') },
  'network connect': {
    summary: 'connect a container to a network',
    load: () => import('./commands/network/connect.js'),
  },
  'network disconnect': {
    summary: 'disconnect a container from a network',
    load: () => import('./commands/network/disconnect.js'),
  },
  'network prune': {
    summary: 'remove all unused networks',
    load: () => import('./commands/network/prune.js'),
  },
  'volume create': { summary: 'create a volume', load: () => import('./commands/volume/create.js') },
  'volume ls': { summary: 'list volumes', load: () => import('./commands/volume/ls.js') },
  'volume rm': { summary: 'remove one or more volumes', load: () => import('./commands/volume/rm.js') },
  'volume inspect': { summary: 'show all details of volumes', load: () => import('./commands/volume/inspect.js') },
  'volume prune': {
    summary: 'remove unused volumes',
    load: () => import('./commands/volume/prune.js'),
  },
  'template create': {
    summary: 'save a booted machine that runs come from',
    load: () => import('./commands/template/create.js'),
  },
  'template ls': { summary: 'list templates', load: () => import('./commands/template/ls.js') },
  'template rm': { summary: 'remove one or more templates', load: () => import('./commands/template/rm.js') },
  'template prune': { summary: 'remove all templates', load: () => import('./commands/template/prune.js') },
  'snapshot create': {
    summary: 'save a running container under a name',
    load: () => import('./commands/snapshot/create.js'),
  },
  'snapshot ls': { summary: 'list snapshots', load: () => import('./commands/snapshot/ls.js') },
  'snapshot rm': { summary: 'remove one or more snapshots', load: () => import('./commands/snapshot/rm.js') },
  'snapshot inspect': {
    summary: 'show all details of snapshots',
    load: () => import('./commands/snapshot/inspect.js'),
  },
  'checkpoint create': {
    summary: 'save a running container, and kill it',
    load: () => import('./commands/checkpoint/create.js'),
  },
  'checkpoint ls': {
    summary: 'list the checkpoints of a container',
    load: () => import('./commands/checkpoint/ls.js'),
  },
  'checkpoint rm': {
    summary: 'remove a checkpoint of a container',
    load: () => import('./commands/checkpoint/rm.js'),
  },
  'job run': {
    summary: 'run a job at a service',
    load: async () => ({ command: (await import('./commands/service/job.js')).run }),
  },
  'job batch': {
    summary: 'queue several jobs at a service',
    load: async () => ({ command: (await import('./commands/service/job.js')).batch }),
  },
  'job ls': {
    summary: 'list jobs',
    load: async () => ({ command: (await import('./commands/service/job.js')).ls }),
  },
  'job show': {
    summary: 'show all of a job',
    load: async () => ({ command: (await import('./commands/service/job.js')).show }),
  },
  'job logs': {
    summary: 'print the output of a job',
    load: async () => ({ command: (await import('./commands/service/job.js')).logs }),
  },
  'job cp': {
    summary: 'copy what a job has left to the host',
    load: async () => ({ command: (await import('./commands/service/job.js')).cp }),
  },
  'job rm': {
    summary: 'remove jobs that have ended',
    load: async () => ({ command: (await import('./commands/service/job.js')).rm }),
  },
  'job cancel': {
    summary: 'end a job',
    load: async () => ({ command: (await import('./commands/service/job.js')).cancel }),
  },
  'job wait': {
    summary: 'wait until a job has ended',
    load: async () => ({ command: (await import('./commands/service/job.js')).wait }),
  },
  'sandbox create': {
    summary: 'start a sandbox at a service',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).create }),
  },
  'sandbox ls': {
    summary: 'list sandboxes',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).ls }),
  },
  'sandbox exec': {
    summary: 'run a command in a sandbox',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).exec }),
  },
  'sandbox cp': {
    summary: 'copy files between a sandbox and the host',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).cp }),
  },
  'sandbox show': {
    summary: 'show all of a sandbox',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).show }),
  },
  'sandbox pause': {
    summary: 'pause sandboxes',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).pause }),
  },
  'sandbox resume': {
    summary: 'let paused sandboxes go on',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).resume }),
  },
  'sandbox fork': {
    summary: 'start copies of a sandbox',
    load: async () => ({ command: (await import('./commands/service/sandbox-copies.js')).fork }),
  },
  'sandbox snapshot': {
    summary: 'keep sandboxes as they are now',
    load: async () => ({ command: (await import('./commands/service/sandbox-copies.js')).snapshot }),
  },
  'sandbox rm': {
    summary: 'end sandboxes',
    load: async () => ({ command: (await import('./commands/service/sandbox.js')).rm }),
  },
  'tenant add': {
    summary: 'add a tenant of a service',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).add }),
  },
  'tenant set': {
    summary: 'change the share of a tenant',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).set }),
  },
  'tenant ls': {
    summary: 'list the tenants of a service',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).ls }),
  },
  'tenant key': {
    summary: 'make an API key of a tenant',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).key }),
  },
  'tenant callback-secret': {
    summary: 'print what signs callbacks of a tenant',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).callbackSecret }),
  },
  'tenant secret': {
    summary: 'set, list and remove secrets of a tenant',
    load: () => import('./commands/service/secret.js'),
  },
  'tenant rm': {
    summary: 'remove a tenant of a service',
    load: async () => ({ command: (await import('./commands/service/tenant.js')).rm }),
  },
  'manifest create': {
    summary: 'make a list of images for several platforms',
    load: () => import('./commands/manifest/create.js'),
  },
  'manifest add': { summary: 'add images to a list', load: () => import('./commands/manifest/add.js') },
  'manifest annotate': {
    summary: 'say what platform an image of a list is for',
    load: () => import('./commands/manifest/annotate.js'),
  },
  'manifest inspect': {
    summary: 'show the manifest of an image, or a list',
    load: () => import('./commands/manifest/inspect.js'),
  },
  'manifest push': {
    summary: 'upload a list and its images to a registry',
    load: () => import('./commands/manifest/push.js'),
  },
  'manifest rm': { summary: 'remove lists', load: () => import('./commands/manifest/rm.js') },
  'builder prune': { summary: 'remove the cache of builds', load: () => import('./commands/builder/prune.js') },
  'kernel path': { summary: 'print the path of a built kernel', load: () => import('./commands/kernel/path.js') },
  'kernel ls': { summary: 'list built kernels', load: () => import('./commands/kernel/ls.js') },
  'kernel pull': { summary: 'fetch a kernel of Debian', load: () => import('./commands/kernel/pull.js') },
  'kernel prune': { summary: 'remove replaced kernels', load: () => import('./commands/kernel/prune.js') },
  'kernel build': { summary: 'build a kernel', load: () => import('./commands/kernel/build.js') },
};

const HIDDEN: Record<string, CommandEntry> = {
  __complete: {
    summary: 'answer a completion script',
    load: async () => ({ command: (await import('./completion.js')).complete }),
  },
};

/** Subcommands of a group that are top-level commands of the same name. */
function same(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** Subcommands that exist only in their group. */
function inGroup(group: string, ...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, `${group} ${name}`]));
}

/** As in Docker, `tsvm image ls` is `tsvm images`. */
const GROUPS: Record<string, CommandGroup> = {
  container: {
    summary: 'manage containers',
    commands: {
      ...same('run', 'create', 'start', 'stop', 'restart', 'kill', 'wait', 'rm', 'rename', 'exec', 'attach'),
      ...same(
        'pause',
        'unpause',
        'suspend',
        'resume',
        'rollback',
        'fork',
        'cp',
        'diff',
        'commit',
        'top',
        'stats',
        'port',
        'logs',
        'inspect',
      ),
      ls: 'ps',
      ...inGroup('container', 'prune'),
    },
  },
  image: {
    summary: 'manage images',
    commands: {
      ls: 'images',
      rm: 'rmi',
      ...same('build', 'pull', 'push', 'import', 'load', 'save', 'tag', 'history', 'inspect', 'prune'),
    },
  },
  builder: {
    summary: 'manage the cache of builds',
    commands: inGroup('builder', 'prune'),
  },
  manifest: {
    summary: 'manage lists of images for several platforms',
    commands: inGroup('manifest', 'create', 'add', 'annotate', 'inspect', 'push', 'rm'),
  },
  network: {
    summary: 'manage private networks, where containers reach each other by name',
    commands: inGroup('network', 'create', 'ls', 'rm', 'inspect', 'connect', 'disconnect', 'prune'),
  },
  volume: {
    summary: 'manage volumes, folders that outlive containers',
    commands: inGroup('volume', 'create', 'ls', 'rm', 'inspect', 'prune'),
  },
  template: {
    summary: 'manage templates, booted machines that runs come from',
    commands: inGroup('template', 'create', 'ls', 'rm', 'prune'),
  },
  snapshot: {
    summary: 'manage snapshots of running containers, which new containers continue',
    commands: inGroup('snapshot', 'create', 'ls', 'rm', 'inspect'),
  },
  checkpoint: {
    summary: 'manage checkpoints, snapshots that their own container starts from',
    commands: inGroup('checkpoint', 'create', 'ls', 'rm'),
  },
  job: {
    summary: 'run jobs at a service',
    commands: inGroup('job', 'run', 'batch', 'ls', 'show', 'logs', 'cp', 'cancel', 'wait', 'rm'),
  },
  sandbox: {
    summary: 'use sandboxes at a service',
    commands: inGroup('sandbox', 'create', 'ls', 'show', 'exec', 'cp', 'pause', 'resume', 'fork', 'snapshot', 'rm'),
  },
  tenant: {
    summary: 'manage the tenants of a service',
    commands: inGroup('tenant', 'add', 'set', 'ls', 'key', 'callback-secret', 'secret', 'rm'),
  },
  kernel: {
    summary: 'build, fetch, find and remove kernels',
    commands: inGroup('kernel', 'path', 'ls', 'pull', 'build', 'prune'),
  },
};

export const COMMAND_TABLE: CommandTable = { commands: COMMANDS, groups: GROUPS, hidden: HIDDEN };
