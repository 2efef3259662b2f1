"""What tests share: fixtures, programs as processes of their own, pictures as people make them."""
