# Pretends to deploy a website. A real script has its commands here.
say() { echo "$1"; sleep 0.4; }
say "Fetching main"
say "Building the pages"
for page in home about prices contact; do say "  built /$page/"; done
echo "warning: /prices/ has no description" >&2
say "Copying 4 pages to web-1"
say "Copying 4 pages to web-2"
say "web-1 answers 200"
say "web-2 answers 200"
echo "The website is deployed"
