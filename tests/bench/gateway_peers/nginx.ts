import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findProgram, freePort, type Program, startProgram, temporaryFolder } from '../programs.ts'

/** nginx with one worker, keep-alive on both sides and no access log, before one backend. */
export async function startNginx(backendPort: number): Promise<{ port: number } & Program> {
  const program = await findProgram('nginx')
  const folder = await temporaryFolder()
  const port = await freePort()
  const path = join(folder.path, 'nginx.conf')
  await writeFile(path, configOf(port, backendPort, folder.path))
  const server = await startProgram(program, [
    '-p',
    folder.path,
    '-c',
    path,
    '-e',
    'stderr',
  ], /start worker process \d+/)
  return {
    ...server,
    port,
    async stop() {
      await server.stop()
      await folder.stop()
    },
  }
}

function configOf(port: number, backendPort: number, folder: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
error_log stderr notice;
pid ${join(folder, 'nginx.pid')};
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  ${temporary.map((name) => `${name}_temp_path ${join(folder, name)};`).join('\n  ')}
  upstream backend {
    server 127.0.0.1:${backendPort};
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header connection "";
    }
  }
}
`
}
