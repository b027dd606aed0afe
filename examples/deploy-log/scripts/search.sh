# Pretends to build a search index, and prints more lines than are kept.
for number in $(seq 1 1200); do
    echo "indexed document $number"
    [ $((number % 100)) -eq 0 ] && sleep 0.4
done
echo "The search index has 1200 documents"
