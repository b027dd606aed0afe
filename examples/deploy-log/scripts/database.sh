# Pretends to update a database, and fails, to show what a failure looks like.
say() { echo "$1"; sleep 0.5; }
say "Connecting to db-1"
say "0041 add_orders: done before"
say "0042 add_invoices: done"
say "0043 unique_email: 18,230 rows to check"
echo "error: duplicate key: two customers have the email ann@example.com" >&2
sleep 0.3
say "0043 unique_email: rolled back"
exit 3
