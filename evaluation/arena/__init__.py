"""People's judgement: blind battles, votes, ratings, and what follows from them."""
